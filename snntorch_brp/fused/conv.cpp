// Convolutions of sparse spikes, and their pooling: sparse_conv.py says where they pay and calls this file by ctypes.
//
// One spike adds a patch of weights to the currents around it. With channels last and the kernel's width turned round,
// each row of that patch is one piece of memory; images get borders as wide as the kernel, so that all rows are whole.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// A convolution of stride 1 over images [c_in, h_in, w_in], its weights as [c_in, kh, row] with kw turned round and
// `row` the kw * c_out weights of one row of the kernel, filled up with 0 to whole vectors.
struct Conv {
    int64_t images, c_in, h_in, w_in, c_out, h_out, w_out, kh, kw, pad_h, pad_w, row;
};

// Windows that do not overlap, over the outputs of a convolution: their maximum or their mean.
struct Pool {
    int64_t height, width, maximum;
};

#ifdef __AVX512F__
constexpr int64_t LANES = 16;
#else
constexpr int64_t LANES = 8;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Indices __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1)));

Vector& at(float* x) { return *reinterpret_cast<Vector*>(x); }
const Vector& at(const float* x) { return *reinterpret_cast<const Vector*>(x); }

// One image of outputs with borders, [h_out, w_out + 2 (kw - 1), c_out], in whole cache lines.
class Image {
   public:
    explicit Image(const Conv& conv)
        : conv_(conv),
          width_((conv.w_out + 2 * (conv.kw - 1)) * conv.c_out),
          memory_(conv.h_out * width_ + conv.row + 2 * LANES) {
        const auto address = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(float);
        data_ = memory_.data() + (LANES - address % LANES) % LANES;
    }
    // Where the outputs start that an input in column x touches, in a row of outputs.
    float* touched(int64_t row, int64_t x) { return data_ + row * width_ + (x + conv_.pad_w) * conv_.c_out; }
    float* output(int64_t y, int64_t x) { return data_ + y * width_ + (x + conv_.kw - 1) * conv_.c_out; }
    float* row(int64_t y) { return data_ + y * width_; }
    int64_t width() const { return width_; }
    void clear() { std::fill(memory_.begin(), memory_.end(), 0.0f); }

   private:
    const Conv& conv_;
    int64_t width_;
    std::vector<float> memory_;
    float* data_;
};

int64_t size_of(const Conv& conv, const Pool& pool) {
    return (conv.h_out / pool.height) * (conv.w_out / pool.width) * conv.c_out;
}

// The next n numbers, at most a vector of them; the others are 0.
Vector load(const float* from, int64_t n) {
    if (n >= LANES) return at(from);
    float values[LANES] = {}, *to = values;
    if (n & 8) std::memcpy(to, from, 32), to += 8, from += 8;
    if (n & 4) std::memcpy(to, from, 16), to += 4, from += 4;
    if (n & 2) std::memcpy(to, from, 8), to += 2, from += 2;
    if (n & 1) *to = *from;
    return at(values);
}

void store(float* to, Vector values, int64_t n) {
    if (n >= LANES) {
        at(to) = values;
        return;
    }
    const float* from = reinterpret_cast<const float*>(&values);
    if (n & 8) std::memcpy(to, from, 32), to += 8, from += 8;
    if (n & 4) std::memcpy(to, from, 16), to += 4, from += 4;
    if (n & 2) std::memcpy(to, from, 8), to += 2, from += 2;
    if (n & 1) *to = *from;
}

// One image of outputs, pooled to out [h_out / height, w_out / width, c_out].
void reduce(Image& image, const Conv& conv, const Pool& pool, float* out, uint8_t* winners) {
    const int64_t places = pool.height * pool.width, row = conv.w_out * conv.c_out;
    const float share = 1.0f / static_cast<float>(places);
    if (places == 1) {
        for (int64_t y = 0; y < conv.h_out; ++y) std::copy_n(image.output(y, 0), row, out + y * row);
        return;
    }
    for (int64_t y = 0; y + pool.height <= conv.h_out; y += pool.height)
        for (int64_t x = 0; x + pool.width <= conv.w_out; x += pool.width)
            for (int64_t c = 0; c < conv.c_out; c += LANES) {
                const int64_t channels = std::min(conv.c_out - c, LANES);
                Vector best = at(image.output(y, x) + c);
                Indices won = {};
                for (int64_t k = 1; k < places; ++k) {
                    const Vector next = at(image.output(y + k / pool.width, x + k % pool.width) + c);
                    if (!pool.maximum) {
                        best += next;
                        continue;
                    }
                    const Indices more = (next > best) | (next != next);  // a NaN wins over all before it
                    best = more ? next : best;
                    won = more ? Indices{} + static_cast<int32_t>(k) : won;
                }
                store(out, pool.maximum ? best : best * share, channels);
                out += channels;
                if (winners) {
                    const Bytes narrow = __builtin_convertvector(won, Bytes);
                    std::memcpy(winners, &narrow, channels);
                    winners += channels;
                }
            }
}

// The way back: gradients of one image of outputs from those of its pooled values.
void spread(const float* a, const Conv& conv, const Pool& pool, const uint8_t* winners, Image& image) {
    const int64_t places = pool.height * pool.width, row = conv.w_out * conv.c_out;
    const float share = 1.0f / static_cast<float>(places);
    if (places == 1) {
        for (int64_t y = 0; y < conv.h_out; ++y) std::copy_n(a + y * row, row, image.output(y, 0));
        return;
    }
    for (int64_t y = 0; y + pool.height <= conv.h_out; y += pool.height)
        for (int64_t x = 0; x + pool.width <= conv.w_out; x += pool.width)
            for (int64_t c = 0; c < conv.c_out; c += LANES) {
                const int64_t channels = std::min(conv.c_out - c, LANES);
                const Vector value = load(a, channels);
                a += channels;
                Indices won = {};
                if (winners) {
                    Bytes narrow = {};
                    std::memcpy(&narrow, winners, channels);
                    won = __builtin_convertvector(narrow, Indices);
                    winners += channels;
                }
                for (int64_t k = 0; k < places; ++k) {
                    float* to = image.output(y + k / pool.width, x + k % pool.width) + c;
                    const Indices here = won == Indices{} + static_cast<int32_t>(k);
                    store(to, winners ? (here ? value : Vector{}) : value * share, channels);
                }
            }
}

// The inputs other than 0 of one channel of an image, row by row.
class Events {
   public:
    explicit Events(const Conv& conv) : conv_(conv), x_(conv.h_in * conv.w_in + 1), value_(x_.size()), from_(conv.h_in + 1) {}

    void find(const float* channel) {
        int64_t found = 0;
        for (int64_t row = 0; row < conv_.h_in; ++row, channel += conv_.w_in) {
            for (int64_t column = 0; column < conv_.w_in; ++column) {  // no branch, which nobody could predict
                x_[found] = static_cast<int32_t>(column);
                value_[found] = channel[column];
                found += channel[column] != 0;
            }
            from_[row + 1] = found;
        }
    }
    bool none() const { return from_.back() == 0; }
    int64_t begin(int64_t row) const { return from_[row]; }
    int64_t end(int64_t row) const { return from_[row + 1]; }
    int64_t x(int64_t event) const { return x_[event]; }
    float value(int64_t event) const { return value_[event]; }

   private:
    const Conv& conv_;
    std::vector<int32_t> x_;
    std::vector<float> value_;
    std::vector<int64_t> from_;
};

// Adds the weights of one channel to the outputs that its events touch.
void add_events(Image& image, const Conv& conv, const Events& events, const float* weight) {
    for (int64_t y = 0; y < conv.h_in; ++y) {
        const int64_t first = std::max<int64_t>(y + conv.pad_h - conv.h_out + 1, 0);
        const int64_t last = std::min(conv.kh, y + conv.pad_h + 1);
        for (int64_t e = events.begin(y); e < events.end(y); ++e) {
            const float value = events.value(e);
            for (int64_t k = first; k < last; ++k) {
                float* to = image.touched(y + conv.pad_h - k, events.x(e));
                const float* w = weight + k * conv.row;
                for (int64_t j = 0; j < conv.row; j += LANES) at(to + j) += value * at(w + j);
            }
        }
    }
}

// Adds to N vectors of one row of the kernel what all events of a channel say of it; the sums stay in registers.
template <int N>
void add_row(Image& image, const Conv& conv, const Events& events, int64_t k, int64_t offset, float* gradient) {
    Vector sums[N] = {};
    for (int64_t row = 0; row < conv.h_out; ++row) {
        const int64_t y = row - conv.pad_h + k;
        if (y < 0 || y >= conv.h_in) continue;
        for (int64_t e = events.begin(y); e < events.end(y); ++e) {
            const float* from = image.touched(row, events.x(e)) + offset;
#pragma GCC unroll 8
            for (int i = 0; i < N; ++i) sums[i] += events.value(e) * at(from + LANES * i);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) at(gradient + LANES * i) += sums[i];
}

void add_rows(Image& image, const Conv& conv, const Events& events, float* gradient) {
    for (int64_t k = 0; k < conv.kh; ++k, gradient += conv.row)
        for (int64_t offset = 0; offset < conv.row;) {
            const int64_t left = (conv.row - offset) / LANES;
            float* to = gradient + offset;
            if (left >= 8)
                add_row<8>(image, conv, events, k, offset, to), offset += 8 * LANES;
            else if (left >= 4)
                add_row<4>(image, conv, events, k, offset, to), offset += 4 * LANES;
            else if (left >= 2)
                add_row<2>(image, conv, events, k, offset, to), offset += 2 * LANES;
            else
                add_row<1>(image, conv, events, k, offset, to), offset += LANES;
        }
}

}  // namespace

// Convolution of sparse images, each pooled to out [h_out / height, w_out / width, c_out]; windows of 1 do nothing.
// Winners, of the same shape, say which place of its window a maximum came from: the first one, row by row.
extern "C" void convolve_float32(const float* images, const Conv* conv, const float* weight, const float* bias,
                                 const Pool* pool, float* out, uint8_t* winners) {
    const int64_t channel = conv->h_in * conv->w_in, out_size = size_of(*conv, *pool);
#pragma omp parallel
    {
        Image image(*conv);
        image.clear();
        Events events(*conv);
        std::vector<float> biases(image.width());
        for (int64_t j = 0; j < image.width(); ++j) biases[j] = bias[j % conv->c_out];
#pragma omp for schedule(static)
        for (int64_t i = 0; i < conv->images; ++i) {
            for (int64_t y = 0; y < conv->h_out; ++y) std::copy(biases.begin(), biases.end(), image.row(y));
            for (int64_t c = 0; c < conv->c_in; ++c) {
                events.find(images + (i * conv->c_in + c) * channel);
                if (!events.none()) add_events(image, *conv, events, weight + c * conv->kh * conv->row);
            }
            reduce(image, *conv, *pool, out + i * out_size, winners ? winners + i * out_size : nullptr);
        }
    }
}

// Gradients of its weights and bias from those of its output, a piece a thread: [threads, c_in * kh * row + c_out], 0.
extern "C" void convolve_gradient_float32(const float* images, const Conv* conv, const float* a, const Pool* pool,
                                          const uint8_t* winners, float* gradient, int64_t threads) {
    const int64_t channel = conv->h_in * conv->w_in, out_size = size_of(*conv, *pool);
    const int64_t weights = conv->c_in * conv->kh * conv->row;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t thread = 0; thread < threads; ++thread) {
        float *own = gradient + thread * (weights + conv->c_out), *bias = own + weights;
        Image image(*conv);
        image.clear();
        Events events(*conv);
        std::vector<float> sums(image.width());
        for (int64_t i = conv->images * thread / threads; i < conv->images * (thread + 1) / threads; ++i) {
            spread(a + i * out_size, *conv, *pool, winners ? winners + i * out_size : nullptr, image);
            for (int64_t c = 0; c < conv->c_in; ++c) {
                events.find(images + (i * conv->c_in + c) * channel);
                if (!events.none()) add_rows(image, *conv, events, own + c * conv->kh * conv->row);
            }
            for (int64_t y = 0; y < conv->h_out; ++y)
                for (int64_t j = 0; j < image.width(); ++j) sums[j] += image.row(y)[j];
        }
        for (int64_t j = 0; j < image.width(); ++j) bias[j % conv->c_out] += sums[j];
    }
}

extern "C" void conv_struct_sizes(int64_t* sizes) {
    sizes[0] = sizeof(Conv);
    sizes[1] = sizeof(Pool);
}
