// What comes between a convolution and its neurons, batch norm and pooling, and the way back: block.py calls this file
// by ctypes.
//
// The convolution's output y lies in memory once, with channels last, [images, height, width, channels], image i of step
// i % steps. A batch norm is one scale and one shift for each step and channel, [steps, channels]; it and the pooling
// are done in one pass over y. On the way back the same pass finds the winners of a maximum again, so that none are
// kept, and turns y into its own gradient in place.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Windows that do not overlap, from the top left corner; rows and columns that fill none are left out.
struct Block {
    int64_t images, steps, height, width, channels, pool_h, pool_w, maximum;

    int64_t high() const { return height / pool_h; }
    int64_t wide() const { return width / pool_w; }
    int64_t places() const { return pool_h * pool_w; }
    int64_t size() const { return height * width * channels; }
    int64_t pooled() const { return high() * wide() * channels; }
    bool large() const { return images * size() > 1 << 16; }
};

#ifdef __AVX512F__
constexpr int64_t VECTOR = 64;
#else
constexpr int64_t VECTOR = 32;
#endif

template <class F>
struct Vectors {
    typedef F Type __attribute__((vector_size(VECTOR)));
    typedef F Loose __attribute__((vector_size(VECTOR), aligned(sizeof(F)), may_alias));
    static constexpr int64_t LANES = VECTOR / sizeof(F);
};
template <class F>
using Vector = typename Vectors<F>::Type;

// The next n channels, at most a vector of them; the others are 0.
template <class F>
inline Vector<F> load(const F* from, int64_t n) {
    if (n >= Vectors<F>::LANES) return *reinterpret_cast<const typename Vectors<F>::Loose*>(from);
    Vector<F> values = {};
    std::memcpy(&values, from, n * sizeof(F));
    return values;
}

template <class F>
inline void store(F* to, Vector<F> values, int64_t n) {
    if (n >= Vectors<F>::LANES)
        *reinterpret_cast<typename Vectors<F>::Loose*>(to) = values;
    else
        std::memcpy(to, &values, n * sizeof(F));
}

// Where the places of a window are, from its first one.
std::vector<int64_t> offsets(const Block& block) {
    std::vector<int64_t> found;
    for (int64_t y = 0; y < block.pool_h; ++y)
        for (int64_t x = 0; x < block.pool_w; ++x) found.push_back((y * block.width + x) * block.channels);
    return found;
}

// The largest value of a window after scale and shift, the y that it was, and where in the window it first stood. A NaN
// wins over all before.
template <class F>
struct Winner {
    Vector<F> value, y, place;
};

template <class F>
inline Winner<F> win(const F* corner, const std::vector<int64_t>& places, Vector<F> scale, Vector<F> shift, int64_t n) {
    const Vector<F> first = load(corner, n);
    Winner<F> best = {first * scale + shift, first, Vector<F>{}};
    for (size_t k = 1; k < places.size(); ++k) {
        const Vector<F> y = load(corner + places[k], n), value = y * scale + shift;
        const auto more = (value > best.value) | (value != value);
        best.value = more ? value : best.value;
        best.y = more ? y : best.y;
        best.place = more ? Vector<F>{} + static_cast<F>(k) : best.place;
    }
    return best;
}

template <class F>
inline Vector<F> average(const F* corner, const std::vector<int64_t>& places, int64_t n) {
    Vector<F> sum = load(corner, n);
    for (size_t k = 1; k < places.size(); ++k) sum += load(corner + places[k], n);
    return sum / static_cast<F>(places.size());
}

// Calls what(corner, pooled, c, n) for each window of an image, a vector of n channels from c on at a time; `pooled` is
// where its value lies among the pooled ones.
template <class F, class What>
inline void windows(const Block& block, F* image, What what) {
    int64_t pooled = 0;
    for (int64_t y = 0; y < block.high(); ++y)
        for (int64_t x = 0; x < block.wide(); ++x, pooled += block.channels) {
            F* corner = image + (y * block.pool_h * block.width + x * block.pool_w) * block.channels;
            for (int64_t c = 0; c < block.channels; c += Vectors<F>::LANES)
                what(corner + c, pooled + c, c, block.channels - c);
        }
}

// Mean and variance (without correction) of each step and channel, [steps, channels]: each image in two passes while it
// is in cache, then all images of a step by the formula of Chan, Golub and LeVeque (1979).
template <class F>
void moments(const F* y, const Block& block, double* mean, double* variance) {
    const int64_t C = block.channels, places = block.height * block.width, samples = block.images / block.steps;
#pragma omp parallel for schedule(static) if (block.large())
    for (int64_t step = 0; step < block.steps; ++step) {
        std::vector<F> sum(C), squares(C);
        double *m = mean + step * C, *v = variance + step * C;
        for (int64_t sample = 0; sample < samples; ++sample) {
            const F* image = y + (sample * block.steps + step) * block.size();
            std::fill(sum.begin(), sum.end(), F(0));
            std::fill(squares.begin(), squares.end(), F(0));
            for (int64_t i = 0; i < places; ++i)
                for (int64_t c = 0; c < C; ++c) sum[c] += image[i * C + c];
            for (int64_t c = 0; c < C; ++c) sum[c] /= static_cast<F>(places);
            for (int64_t i = 0; i < places; ++i)
                for (int64_t c = 0; c < C; ++c) {
                    const F off = image[i * C + c] - sum[c];
                    squares[c] += off * off;
                }
            const double seen = static_cast<double>(sample), n = static_cast<double>(places);
            for (int64_t c = 0; c < C; ++c) {
                const double apart = static_cast<double>(sum[c]) - m[c];
                m[c] += apart / (seen + 1);
                v[c] += static_cast<double>(squares[c]) + apart * apart * n * seen / (seen + 1);
            }
        }
        for (int64_t c = 0; c < C; ++c) v[c] /= static_cast<double>(places * samples);
    }
}

// out [images, high, wide, channels]: y scaled and shifted, and of each window the maximum or the mean.
template <class F>
void forward(const F* y, const Block& block, const F* scale, const F* shift, F* out) {
    const std::vector<int64_t> places = offsets(block);
#pragma omp parallel for schedule(static) if (block.large())
    for (int64_t image = 0; image < block.images; ++image) {
        const F *s = scale + image % block.steps * block.channels, *h = shift + image % block.steps * block.channels;
        F* to = out + image * block.pooled();
        windows(block, y + image * block.size(), [&](const F* corner, int64_t pooled, int64_t c, int64_t n) {
            const Vector<F> times = load(s + c, n), plus = load(h + c, n);
            store(to + pooled,
                  block.maximum ? win(corner, places, times, plus, n).value
                                : average(corner, places, n) * times + plus,
                  n);
        });
    }
}

// Sums over samples and places of the gradients g of the pooled values, and of g times the y that it goes to, for each
// step and channel, [steps, channels], 0 before.
template <class F>
void sums(const F* y, const Block& block, const F* scale, const F* shift, const F* g, double* of_g, double* of_gy) {
    const int64_t samples = block.images / block.steps, C = block.channels;
    const std::vector<int64_t> places = offsets(block);
#pragma omp parallel for schedule(static) if (block.large())
    for (int64_t step = 0; step < block.steps; ++step) {
        const F *s = scale + step * C, *h = shift + step * C;
        std::vector<F> own(2 * C);  // of one image
        for (int64_t sample = 0; sample < samples; ++sample) {
            const int64_t image = sample * block.steps + step;
            const F* from = g + image * block.pooled();
            std::fill(own.begin(), own.end(), F(0));
            windows(block, y + image * block.size(), [&](const F* corner, int64_t pooled, int64_t c, int64_t n) {
                const Vector<F> here = load(from + pooled, n);
                const Vector<F> reached = block.maximum ? win(corner, places, load(s + c, n), load(h + c, n), n).y
                                                        : average(corner, places, n);
                F *first = own.data() + c, *second = first + C;
                store(first, load(first, n) + here, n);
                store(second, load(second, n) + here * reached, n);
            });
            for (int64_t c = 0; c < C; ++c) {
                of_g[step * C + c] += static_cast<double>(own[c]);
                of_gy[step * C + c] += static_cast<double>(own[C + c]);
            }
        }
    }
}

// y becomes its gradient: slope [steps, channels] times the gradient g of the pooled value, where it goes to, plus
// turn times y plus offset, which is what goes through the batch's statistics.
template <class F>
void backward(F* y, const Block& block, const F* scale, const F* shift, const F* g, const F* slope, const F* turn,
              const F* offset) {
    const int64_t C = block.channels;
    const int64_t high = block.high() * block.pool_h, wide = block.wide() * block.pool_w;
    const std::vector<int64_t> places = offsets(block);
#pragma omp parallel for schedule(static) if (block.large())
    for (int64_t image = 0; image < block.images; ++image) {
        const int64_t step = image % block.steps * C;
        const F* from = g + image * block.pooled();
        F* own = y + image * block.size();
        for (int64_t row = 0; row < block.height; ++row)
            for (int64_t column = row < high ? wide : 0; column < block.width; ++column) {  // in no window
                F* at = own + (row * block.width + column) * C;
                for (int64_t c = 0; c < C; ++c) at[c] = turn[step + c] * at[c] + offset[step + c];
            }
        windows(block, own, [&](F* corner, int64_t pooled, int64_t c, int64_t n) {
            const Vector<F> here = load(from + pooled, n) * load(slope + step + c, n);
            const Vector<F> times = load(turn + step + c, n), plus = load(offset + step + c, n);
            const Vector<F> zero = {}, share = here / static_cast<F>(block.places());
            Vector<F> won = zero;
            if (block.maximum) won = win(corner, places, load(scale + step + c, n), load(shift + step + c, n), n).place;
            for (size_t k = 0; k < places.size(); ++k) {
                F* at = corner + places[k];
                const Vector<F> reached = block.maximum ? (won == zero + static_cast<F>(k) ? here : zero) : share;
                store(at, reached + (load(at, n) * times + plus), n);
            }
        });
    }
}

}  // namespace

#define BLOCK(F)                                                                                                 \
    extern "C" void block_moments_##F(const F* y, const Block* block, double* mean, double* variance) {          \
        moments(y, *block, mean, variance);                                                                      \
    }                                                                                                            \
    extern "C" void block_forward_##F(const F* y, const Block* block, const F* scale, const F* shift, F* out) {  \
        forward(y, *block, scale, shift, out);                                                                   \
    }                                                                                                            \
    extern "C" void block_sums_##F(const F* y, const Block* block, const F* scale, const F* shift, const F* g,   \
                                   double* of_g, double* of_gy) {                                                \
        sums(y, *block, scale, shift, g, of_g, of_gy);                                                           \
    }                                                                                                            \
    extern "C" void block_backward_##F(F* y, const Block* block, const F* scale, const F* shift, const F* g,     \
                                       const F* slope, const F* turn, const F* offset) {                         \
        backward(y, *block, scale, shift, g, slope, turn, offset);                                               \
    }

BLOCK(float)
BLOCK(double)

extern "C" void block_struct_sizes(int64_t* sizes) { sizes[0] = sizeof(Block); }
