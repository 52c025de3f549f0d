// Convolutions of sparse spikes: sparse_conv.py says where they pay, builds this file on first use and calls it by ctypes.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

// A convolution of stride 1 over images [c_in, h_in, w_in], its weights as [c_in, kh, kw, c_out] with kw turned round.
struct Conv {
    int64_t images, c_in, h_in, w_in, c_out, h_out, w_out, kh, kw, pad_h, pad_w;
};

// Calls f(value, output offset, weight offset, length) for each row of outputs that an input other than 0 touches.
// With channels last and kw turned round, both are contiguous: a spike adds kw * c_out weights in one go.
template <class Row>
void touched(const float* image, const Conv& conv, Row f) {
    for (int64_t c = 0; c < conv.c_in; ++c)
        for (int64_t y = 0; y < conv.h_in; ++y)
            for (int64_t x = 0; x < conv.w_in; ++x) {
                const float value = image[(c * conv.h_in + y) * conv.w_in + x];
                if (value == 0) continue;
                const int64_t first = x + conv.pad_w - (conv.kw - 1);
                const int64_t from = std::max<int64_t>(first, 0), to = std::min(first + conv.kw, conv.w_out);
                for (int64_t k = 0; k < conv.kh; ++k) {
                    const int64_t row = y + conv.pad_h - k;
                    if (row < 0 || row >= conv.h_out || from >= to) continue;
                    f(value, (row * conv.w_out + from) * conv.c_out,
                      ((c * conv.kh + k) * conv.kw + from - first) * conv.c_out, (to - from) * conv.c_out);
                }
            }
}

}  // namespace

// Convolution of sparse images: out is [images, h_out, w_out, c_out].
extern "C" void convolve_float32(const float* images, const Conv* conv, const float* weight, const float* bias,
                                 float* out) {
    const int64_t in_size = conv->c_in * conv->h_in * conv->w_in, out_size = conv->h_out * conv->w_out * conv->c_out;
    const int64_t row = conv->w_out * conv->c_out;
    std::vector<float> biases(row);
    for (int64_t j = 0; j < row; ++j) biases[j] = bias[j % conv->c_out];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < conv->images; ++i) {
        float* o = out + i * out_size;
        for (int64_t at = 0; at < out_size; at += row) std::copy(biases.begin(), biases.end(), o + at);
        touched(images + i * in_size, *conv, [=](float value, int64_t to, int64_t from, int64_t n) {
            float* __restrict__ sums = o + to;
            const float* __restrict__ w = weight + from;
            for (int64_t j = 0; j < n; ++j) sums[j] += value * w[j];
        });
    }
}

// Gradients of its weights and bias from those of its output, one piece a thread: [threads, weights + c_out], zeroed.
extern "C" void convolve_gradient_float32(const float* images, const Conv* conv, const float* a, float* gradient,
                                          int64_t threads) {
    const int64_t in_size = conv->c_in * conv->h_in * conv->w_in, out_size = conv->h_out * conv->w_out * conv->c_out;
    const int64_t weights = conv->c_in * conv->kh * conv->kw * conv->c_out, row = conv->w_out * conv->c_out;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t thread = 0; thread < threads; ++thread) {
        float *own = gradient + thread * (weights + conv->c_out), *bias = own + weights;
        std::vector<float> sums(row);
        for (int64_t i = conv->images * thread / threads; i < conv->images * (thread + 1) / threads; ++i) {
            const float* from = a + i * out_size;
            touched(images + i * in_size, *conv, [=](float value, int64_t at, int64_t to, int64_t n) {
                float* __restrict__ sums = own + to;
                const float* __restrict__ grads = from + at;
                for (int64_t j = 0; j < n; ++j) sums[j] += value * grads[j];
            });
            for (int64_t at = 0; at < out_size; at += row)
                for (int64_t j = 0; j < row; ++j) sums[j] += from[at + j];
        }
        for (int64_t j = 0; j < row; ++j) bias[j % conv->c_out] += sums[j];
    }
}

extern "C" void conv_struct_sizes(int64_t* sizes) { sizes[0] = sizeof(Conv); }
