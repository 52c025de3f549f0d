// Convolutions of spikes by tables of partial sums: spike_conv.py calls this file by ctypes.
//
// A sum of weights over the inputs that fired needs no product. Four inputs that are 0 or 1 have 16 possible sums, which
// are kept in a table; so one addition does the work of four products, whatever the spikes are (the "method of the four
// Russians": Arlazarov, Dinic, Kronrod and Faradzhev, 1970). Forward the tables are of the weights, and the bits of a
// patch are what is looked up. For the gradient of the weights the tables are of the gradients at 32 places, and the
// bits are what one input of the patch did at these places. Images lie with channels last.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

// A convolution of images [h_in, w_in, c_in] of bytes, each 0 or 1.
struct SpikeConv {
    int64_t images, h_in, w_in, c_in, h_out, w_out, c_out, kh, kw, stride_h, stride_w, pad_h, pad_w, step_h, step_w;

    int64_t taps() const { return kh * kw * c_in; }
    int64_t words() const { return (taps() + 31) / 32; }  // of 32 bits, the last one filled up with 0
    int64_t places() const { return images * h_out * w_out; }
};

constexpr int64_t LINE = 64;  // bytes of a line of the cache
constexpr int64_t WORD = 32;  // inputs that are looked up together, four in each of 8 tables
constexpr int64_t TABLES = 8;
constexpr int64_t TILE = 128;  // places whose sums stay in the first cache while the tables pass by
#ifdef __AVX512F__
constexpr int64_t VECTOR = 64;
#else
constexpr int64_t VECTOR = 32;
#endif

// An entry of a table: `row` bytes of sums, one line of the cache or two, for as many outputs.
template <class F, int64_t row>
struct Entry {
    typedef F Aligned __attribute__((vector_size(VECTOR), aligned(VECTOR), may_alias));
    typedef F Loose __attribute__((vector_size(VECTOR), aligned(sizeof(F)), may_alias));
    static constexpr int64_t LANES = row / sizeof(F), PARTS = row / VECTOR;
    static constexpr int64_t TABLE = 16 * row, WORD_TABLES = TABLES * TABLE;

    static int64_t blocks(const SpikeConv& conv) { return (conv.c_out + LANES - 1) / LANES; }
};
typedef uint8_t Bytes __attribute__((vector_size(32), aligned(1), may_alias));

// Memory that starts with a line of the cache.
class Lines {
   public:
    explicit Lines(int64_t bytes) : memory_(new char[bytes + LINE]) {
        data_ = memory_.get() + (LINE - reinterpret_cast<uintptr_t>(memory_.get()) % LINE) % LINE;
    }
    char* data() { return data_; }

   private:
    std::unique_ptr<char[]> memory_;
    char* data_;
};

// The tables of 32 rows of numbers: table j holds the sums over all subsets of the rows 4 j to 4 j + 3.
template <class F, int64_t row>
void build(const F* rows, int64_t stride, char* tables) {
    using E = Entry<F, row>;
    for (int64_t j = 0; j < TABLES; ++j) {
        auto* table = reinterpret_cast<typename E::Aligned*>(tables + j * E::TABLE);
        for (int64_t part = 0; part < E::PARTS; ++part) table[part] = typename E::Aligned{};
        for (int64_t bit = 0; bit < 4; ++bit) {
            const auto* more = reinterpret_cast<const typename E::Loose*>(rows + (4 * j + bit) * stride);
            const int64_t known = int64_t{1} << bit;
            for (int64_t i = 0; i < known; ++i)
                for (int64_t part = 0; part < E::PARTS; ++part)
                    table[(known + i) * E::PARTS + part] = table[i * E::PARTS + part] + more[part];
        }
    }
}

// Adds to an entry the sum of the rows whose bits are set.
template <class F, int64_t row>
inline __attribute__((always_inline)) void look_up(const char* tables, uint32_t bits, char* sums) {
    using E = Entry<F, row>;
    constexpr int64_t T = E::TABLE;
    constexpr uint32_t MASK = 15 * row;  // four bits, times the bytes of an entry
    constexpr int UP = row == 64 ? 6 : 7;
    static_assert(1 << UP == row, "entries of 64 or 128 bytes");
    const char* r0 = tables + ((bits << UP) & MASK);
    const char* r1 = tables + T + ((bits << (UP - 4)) & MASK);
    const char* r2 = tables + 2 * T + ((bits >> (8 - UP)) & MASK);
    const char* r3 = tables + 3 * T + ((bits >> (12 - UP)) & MASK);
    const char* r4 = tables + 4 * T + ((bits >> (16 - UP)) & MASK);
    const char* r5 = tables + 5 * T + ((bits >> (20 - UP)) & MASK);
    const char* r6 = tables + 6 * T + ((bits >> (24 - UP)) & MASK);
    const char* r7 = tables + 7 * T + ((bits >> (28 - UP)) & MASK);
    const auto at = [](const char* entry, int64_t part) { return reinterpret_cast<const typename E::Aligned*>(entry)[part]; };
#pragma GCC unroll 4
    for (int64_t part = 0; part < E::PARTS; ++part)
        reinterpret_cast<typename E::Aligned*>(sums)[part] +=
            ((at(r0, part) + at(r1, part)) + (at(r2, part) + at(r3, part))) +
            ((at(r4, part) + at(r5, part)) + (at(r6, part) + at(r7, part)));
}

// 32 bytes, each 0 or 1, as 32 bits.
uint32_t pack(const uint8_t* bytes) {
#ifdef __AVX2__
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi8(x, _mm256_setzero_si256())));
#else
    uint32_t bits = 0;
    for (int64_t i = 0; i < 4; ++i) {  // the product moves byte j to bit 56 + j
        uint64_t x = 0;
        for (int64_t j = 0; j < 8; ++j) x |= static_cast<uint64_t>(bytes[8 * i + j]) << (8 * j);
        bits |= static_cast<uint32_t>((x * 0x0102040810204080ull) >> 56) << (8 * i);
    }
    return bits;
#endif
}

// What 32 inputs did at 32 places: bytes [32 places, 32 inputs], rows `stride` apart, to a word for each input.
void turn(const uint8_t* bytes, int64_t stride, uint32_t* words) {
    uint8_t eights[4][32];  // bit j of eights[q][i]: input i at place 8 q + j
    for (int64_t q = 0; q < 4; ++q) {
        Bytes bits = {};
        for (int64_t j = 7; j >= 0; --j) bits = (bits + bits) + *reinterpret_cast<const Bytes*>(bytes + (8 * q + j) * stride);
        std::memcpy(eights[q], &bits, 32);
    }
    for (int64_t i = 0; i < 32; ++i)
        words[i] = eights[0][i] | eights[1][i] << 8 | eights[2][i] << 16 | static_cast<uint32_t>(eights[3][i]) << 24;
}

// The inputs of one place after the other, from images with borders of 0.
class Patches {
   public:
    Patches(const SpikeConv& conv, const uint8_t* images)
        : conv_(conv),
          images_(images),
          width_((conv.w_in + 2 * conv.pad_w) * conv.c_in),
          bordered_((conv.h_in + 2 * conv.pad_h) * width_) {}

    // The taps of a place, in the order [kh, kw, c_in].
    void copy(int64_t place, uint8_t* to) {
        const int64_t image = place / (conv_.h_out * conv_.w_out), at = place % (conv_.h_out * conv_.w_out);
        if (image != held_) hold(image);
        const int64_t y = at / conv_.w_out * conv_.stride_h, x = at % conv_.w_out * conv_.stride_w;
        const int64_t row = conv_.kw * conv_.c_in;
        for (int64_t i = 0; i < conv_.kh; ++i, to += row) {
            const uint8_t* from = bordered_.data() + (y + i * conv_.step_h) * width_ + x * conv_.c_in;
            if (conv_.step_w == 1) {
                std::memcpy(to, from, row);
                continue;
            }
            for (int64_t j = 0; j < conv_.kw; ++j)
                std::memcpy(to + j * conv_.c_in, from + j * conv_.step_w * conv_.c_in, conv_.c_in);
        }
    }

   private:
    void hold(int64_t image) {
        const int64_t row = conv_.w_in * conv_.c_in;
        const uint8_t* from = images_ + image * conv_.h_in * row;
        uint8_t* to = bordered_.data() + conv_.pad_h * width_ + conv_.pad_w * conv_.c_in;
        for (int64_t y = 0; y < conv_.h_in; ++y) std::memcpy(to + y * width_, from + y * row, row);
        held_ = image;
    }

    const SpikeConv& conv_;
    const uint8_t* images_;
    int64_t width_, held_ = -1;
    std::vector<uint8_t> bordered_;
};

// weight [32 words, blocks, lanes] and bias [blocks, lanes], filled up with 0; out [places, c_out].
template <class F, int64_t row>
void convolve(const uint8_t* images, const SpikeConv& conv, const F* weight, const F* bias, F* out) {
    constexpr int64_t LANES = Entry<F, row>::LANES;
    const int64_t words = conv.words(), blocks = Entry<F, row>::blocks(conv), places = conv.places(), wide = blocks * LANES;
    Lines tables(blocks * words * Entry<F, row>::WORD_TABLES);
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t word = 0; word < words; ++word)
            build<F, row>(weight + word * WORD * wide + block * LANES, wide,
                  tables.data() + (block * words + word) * Entry<F, row>::WORD_TABLES);
#pragma omp parallel if (places * words * conv.c_out > 1 << 16)
    {
        Patches patches(conv, images);
        std::vector<uint8_t> patch(words * WORD);
        std::vector<uint32_t> bits(words * TILE);
        Lines sums(TILE * row);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < places; first += TILE) {
            const int64_t n = std::min(TILE, places - first);
            for (int64_t i = 0; i < n; ++i) {
                patches.copy(first + i, patch.data());
                for (int64_t word = 0; word < words; ++word) bits[word * TILE + i] = pack(patch.data() + word * WORD);
            }
            for (int64_t block = 0; block < blocks; ++block) {
                for (int64_t i = 0; i < n; ++i) std::memcpy(sums.data() + i * row, bias + block * LANES, row);
                for (int64_t word = 0; word < words; ++word) {
                    const char* table = tables.data() + (block * words + word) * Entry<F, row>::WORD_TABLES;
                    for (int64_t i = 0; i < n; ++i) look_up<F, row>(table, bits[word * TILE + i], sums.data() + i * row);
                }
                const int64_t channels = std::min(LANES, conv.c_out - block * LANES);
                F* to = out + first * conv.c_out + block * LANES;
                for (int64_t i = 0; i < n; ++i)
                    std::memcpy(to + i * conv.c_out, sums.data() + i * row, channels * sizeof(F));
            }
        }
    }
}

// Gradients a [places, c_out] of the output to those of the weights, a piece a thread: [threads, blocks, 32 words,
// lanes], from the start of a cache line on, 0 before.
template <class F, int64_t row>
void gradient(const uint8_t* images, const SpikeConv& conv, const F* a, F* weight, int64_t threads) {
    constexpr int64_t LANES = Entry<F, row>::LANES;
    const int64_t words = conv.words(), blocks = Entry<F, row>::blocks(conv), places = conv.places(), wide = words * WORD;
    const int64_t groups = (places + WORD - 1) / WORD;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t thread = 0; thread < threads; ++thread) {
        Patches patches(conv, images);
        std::vector<uint8_t> taps(WORD * wide);
        std::vector<uint32_t> bits(wide);
        Lines tables(Entry<F, row>::WORD_TABLES), rows(WORD * row);
        for (int64_t group = groups * thread / threads; group < groups * (thread + 1) / threads; ++group) {
            const int64_t first = group * WORD, n = std::min(WORD, places - first);
            if (n < WORD) std::fill(taps.begin(), taps.end(), 0);
            for (int64_t i = 0; i < n; ++i) patches.copy(first + i, taps.data() + i * wide);
            for (int64_t word = 0; word < words; ++word) turn(taps.data() + word * WORD, wide, bits.data() + word * WORD);
            for (int64_t block = 0; block < blocks; ++block) {
                const int64_t channels = std::min(LANES, conv.c_out - block * LANES);
                const F* from = a + first * conv.c_out + block * LANES;
                if (n == WORD && channels == LANES) {
                    build<F, row>(from, conv.c_out, tables.data());
                } else {  // filled up with 0
                    std::memset(rows.data(), 0, WORD * row);
                    for (int64_t i = 0; i < n; ++i)
                        std::memcpy(rows.data() + i * row, from + i * conv.c_out, channels * sizeof(F));
                    build<F, row>(reinterpret_cast<const F*>(rows.data()), LANES, tables.data());
                }
                char* sums = reinterpret_cast<char*>(weight) + (thread * blocks + block) * wide * row;
                for (int64_t tap = 0; tap < conv.taps(); ++tap) look_up<F, row>(tables.data(), bits[tap], sums + tap * row);
            }
        }
    }
}

}  // namespace

// With entries of one line where that holds all outputs.
#define SPIKE_CONV(F)                                                                                               \
    extern "C" void spike_convolve_##F(const uint8_t* images, const SpikeConv* conv, const F* weight, const F* bias, \
                                       F* out, int64_t row) {                                                       \
        const auto run = row == 64 ? convolve<F, 64> : convolve<F, 128>;                                            \
        run(images, *conv, weight, bias, out);                                                                      \
    }                                                                                                               \
    extern "C" void spike_gradient_##F(const uint8_t* images, const SpikeConv* conv, const F* a, F* weight,         \
                                       int64_t threads, int64_t row) {                                              \
        const auto run = row == 64 ? gradient<F, 64> : gradient<F, 128>;                                            \
        run(images, *conv, a, weight, threads);                                                                     \
    }

SPIKE_CONV(float)
SPIKE_CONV(double)

extern "C" void spike_conv_struct_sizes(int64_t* sizes) { sizes[0] = sizeof(SpikeConv); }
