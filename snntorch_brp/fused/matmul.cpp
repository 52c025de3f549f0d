// Products of spikes and float32 numbers on AMX matrix units, which multiply bfloat16: matmul.py says what for.
//
// One side is spikes, exact in bfloat16; the other, the floats (weights or gradients), is taken apart into one or three
// bfloat16 parts on its way into the second cache, and stays there while the spikes go by. A part is never written to
// memory, and the sums of all parts are made in the same registers.
//
// Forward, both sides lie in memory as [lanes, k], k being summed over, and the spikes are the left operand:
// out [spikes, floats]. Back, they lie as [k, lanes], and the floats are the left operand: out [floats, spikes].

#if defined(__AMX_BF16__) && defined(__linux__)
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// An operand tile is 16 lanes by 32 numbers along k, two neighbours along k in one word.
constexpr int64_t LANES = 16, DEPTH = 32, WORDS = LANES * DEPTH / 2;
constexpr int64_t BLOCK = 2 * LANES;       // sums are made 32 x 32 at a time
constexpr int64_t STEPS = 24, HELD = 768;  // tiles along k, and lanes over all parts, of the floats held in cache

struct Matrix {
    const void* data;
    int64_t lanes, stride;  // stride: from one row in memory to the next
};

struct Product {
    Matrix floats, spikes;
    int64_t k;           // length of the sums
    const float* start;  // what a row of sums starts from, padded to whole blocks; null: from what is in out
    float* out;
};

struct alignas(64) Tiles {  // all eight of 16 rows of 64 bytes
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// To the nearest bfloat16, ties to even.
uint32_t rounded(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    const uint32_t near = (u + 0x7FFF + ((u >> 16) & 1)) >> 16;
    return (u & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : near;  // NaN stays NaN, whatever its mantissa
}

float widened(uint32_t x) {
    x <<= 16;
    float value;
    std::memcpy(&value, &x, 4);
    return value;
}

// One tile of spikes, 0 beyond the ends: as they lie, [lane, pair] forward and [pair, lane] back.
template <bool back>
void pack_spikes(const Matrix& m, int64_t lane, int64_t k, int64_t k_end, uint32_t* to) {
    const int64_t lanes = std::clamp<int64_t>(m.lanes - lane, 0, LANES), deep = std::min(DEPTH, k_end - k);
    const uint16_t* data = static_cast<const uint16_t*>(m.data);
    if (lanes < LANES || deep < DEPTH) std::memset(to, 0, 4 * WORDS);
    if (!back) {
        for (int64_t i = 0; i < lanes; ++i) std::memcpy(to + 16 * i, data + (lane + i) * m.stride + k, 2 * deep);
        return;
    }
    const uint16_t* from = data + k * m.stride + lane;
    if (lanes == LANES && deep == DEPTH) {
        for (int64_t i = 0; i < 16; ++i, from += 2 * m.stride)
            for (int64_t j = 0; j < 16; ++j) to[16 * i + j] = from[j] | static_cast<uint32_t>(from[m.stride + j]) << 16;
        return;
    }
    for (int64_t i = 0; i < deep; ++i)
        for (int64_t j = 0; j < lanes; ++j)
            to[16 * (i / 2) + j] |= static_cast<uint32_t>(from[i * m.stride + j]) << 16 * (i % 2);
}

// One tile of floats for each part, one behind the other: turned round, to [pair, lane] forward and [lane, pair] back.
template <bool back, int parts>
void pack_floats(const Matrix& m, int64_t lane, int64_t k, int64_t k_end, uint32_t* to) {
    const int64_t lanes = std::clamp<int64_t>(m.lanes - lane, 0, LANES), deep = std::min(DEPTH, k_end - k);
    const int64_t rows = back ? deep : lanes, length = back ? lanes : deep, wide = back ? LANES : DEPTH;
    const float* from = static_cast<const float*>(m.data) + (back ? k * m.stride + lane : lane * m.stride + k);
    alignas(64) float left[2 * WORDS];
    alignas(64) uint32_t part[2 * WORDS], pairs[16][16];
    if (lanes < LANES || deep < DEPTH) std::memset(left, 0, sizeof left);
    for (int64_t i = 0; i < rows; ++i) std::memcpy(left + i * wide, from + i * m.stride, 4 * length);
    for (int p = 0; p < parts; ++p, to += WORDS) {
        for (int64_t i = 0; i < 2 * WORDS; ++i) {
            part[i] = rounded(left[i]);
            left[i] -= widened(part[i]);
        }
        for (int64_t i = 0; i < 16; ++i)
            for (int64_t j = 0; j < 16; ++j)
                pairs[i][j] = back ? part[32 * i + j] | part[32 * i + 16 + j] << 16
                                   : part[32 * i + 2 * j] | part[32 * i + 2 * j + 1] << 16;
        for (int64_t i = 0; i < 16; ++i)
            for (int64_t j = 0; j < 16; ++j) to[16 * i + j] = pairs[j][i];
    }
}

// The sums of a block in tiles 0 to 3, and their place in memory.
void load(const float* from, int64_t stride) {
    _tile_loadd(0, from, 4 * stride);
    _tile_loadd(1, from + 16, 4 * stride);
    _tile_loadd(2, from + 16 * stride, 4 * stride);
    _tile_loadd(3, from + 16 * stride + 16, 4 * stride);
}

void store(float* to, int64_t stride) {
    _tile_stored(0, to, 4 * stride);
    _tile_stored(1, to + 16, 4 * stride);
    _tile_stored(2, to + 16 * stride, 4 * stride);
    _tile_stored(3, to + 16 * stride + 16, 4 * stride);
}

// Adds to the sums, with spikes in tiles 4 and 5 and one part of the floats in tiles 6 and 7.
template <bool back, int parts>
void add_up(const uint32_t* spikes, const uint32_t* floats, int64_t steps) {
    for (int64_t at = 0; at < steps; ++at) {
        _tile_loadd(4, spikes + at * WORDS, 64);
        _tile_loadd(5, spikes + (steps + at) * WORDS, 64);
        for (int p = 0; p < parts; ++p) {
            _tile_loadd(6, floats + (at * parts + p) * WORDS, 64);
            _tile_loadd(7, floats + ((steps + at) * parts + p) * WORDS, 64);
            if (back) {
                _tile_dpbf16ps(0, 6, 4);
                _tile_dpbf16ps(1, 6, 5);
                _tile_dpbf16ps(2, 7, 4);
                _tile_dpbf16ps(3, 7, 5);
            } else {
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
}

// One block of out, which may reach over its edges, from `row` and `column` on.
template <bool back, int parts>
void do_block(const Product& p, int64_t row, int64_t column, bool first, const uint32_t* spikes, const uint32_t* floats,
              int64_t steps) {
    const int64_t rows = back ? p.floats.lanes : p.spikes.lanes, columns = back ? p.spikes.lanes : p.floats.lanes;
    const int64_t high = std::min(BLOCK, rows - row), wide = std::min(BLOCK, columns - column);
    float* at = p.out + row * columns + column;
    alignas(64) float edge[BLOCK * BLOCK];
    const bool whole = high == BLOCK && wide == BLOCK;
    if (first && p.start) {
        load(p.start + column, 0);
    } else if (whole) {
        load(at, columns);
    } else {
        for (int64_t y = 0; y < high; ++y) std::copy_n(at + y * columns, wide, edge + y * BLOCK);
        load(edge, BLOCK);
    }
    add_up<back, parts>(spikes, floats, steps);
    if (whole) {
        store(at, columns);
    } else {
        store(edge, BLOCK);
        for (int64_t y = 0; y < high; ++y) std::copy_n(edge + y * BLOCK, wide, at + y * columns);
    }
}

// What the lanes from..to of the floats and of the spikes have to do with each other.
template <bool back, int parts>
void do_part(const Product& p, int64_t float_from, int64_t float_to, int64_t spike_from, int64_t spike_to) {
    constexpr int64_t WIDTH = HELD / parts;
    std::vector<uint32_t> memory((WIDTH * parts + BLOCK) / LANES * STEPS * WORDS + LANES);
    uint32_t* held = memory.data() + LANES - reinterpret_cast<uintptr_t>(memory.data()) / 4 % LANES;  // by 64 bytes
    uint32_t* passing = held + WIDTH * parts / LANES * STEPS * WORDS;
    const Tiles tiles;
    _tile_loadconfig(&tiles);
    for (int64_t f = float_from; f < float_to; f += WIDTH)
        for (int64_t k = 0; k < p.k; k += STEPS * DEPTH) {
            const int64_t k_end = std::min(k + STEPS * DEPTH, p.k), steps = (k_end - k + DEPTH - 1) / DEPTH;
            const int64_t f_end = std::min(f + WIDTH, float_to);
            uint32_t* to = held;
            for (int64_t lane = f; lane < (f_end - f + BLOCK - 1) / BLOCK * BLOCK + f; lane += LANES)
                for (int64_t at = 0; at < steps; ++at, to += parts * WORDS)
                    pack_floats<back, parts>(p.floats, lane, k + at * DEPTH, k_end, to);
            for (int64_t s = spike_from; s < spike_to; s += BLOCK) {
                to = passing;
                for (int64_t lane = s; lane < s + BLOCK; lane += LANES)
                    for (int64_t at = 0; at < steps; ++at, to += WORDS)
                        pack_spikes<back>(p.spikes, lane, k + at * DEPTH, k_end, to);
                for (int64_t i = f; i < f_end; i += BLOCK)
                    do_block<back, parts>(p, back ? i : s, back ? s : i, k == 0, passing,
                                          held + (i - f) / LANES * steps * parts * WORDS, steps);
            }
        }
    _tile_release();
}

template <bool back, int parts>
void multiply(const Product& p) {
    const int64_t f_blocks = (p.floats.lanes + BLOCK - 1) / BLOCK, s_blocks = (p.spikes.lanes + BLOCK - 1) / BLOCK;
    const int64_t threads = omp_get_max_threads();
    const int64_t across = std::min(threads, f_blocks), along = std::min(threads / across, s_blocks);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t i = 0; i < across; ++i)
        for (int64_t j = 0; j < along; ++j)
            do_part<back, parts>(p, f_blocks * i / across * BLOCK,
                                 std::min(f_blocks * (i + 1) / across * BLOCK, p.floats.lanes),
                                 s_blocks * j / along * BLOCK,
                                 std::min(s_blocks * (j + 1) / along * BLOCK, p.spikes.lanes));
}

}  // namespace

// Whether the system lets this process use the units.
extern "C" int32_t matrix_units_ready() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

extern "C" void matrix_struct_sizes(int64_t* sizes) {
    sizes[0] = sizeof(Matrix);
    sizes[1] = sizeof(Product);
}

extern "C" void multiply_spikes(const Product* product, int32_t back, int32_t parts) {
    if (parts == 3)
        (back ? multiply<true, 3> : multiply<false, 3>)(*product);
    else
        (back ? multiply<true, 1> : multiply<false, 1>)(*product);
}

#else
extern "C" int matrix_units_ready() { return 0; }
#endif
