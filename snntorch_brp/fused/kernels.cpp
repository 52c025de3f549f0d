// One layer of leaky neurons over all T steps: scan, pooling and adjoint, with the state in cache.
//
// The definitions are in scan.py; this file does the same arithmetic in the same order, so that results are
// equal bit for bit (compile with -ffp-contract=off). kernels.py builds it on first use and calls it by ctypes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

enum Reset : int32_t { FORGET, SUBTRACT, NONE };

struct Neuron {
    double beta, threshold, v_rest, v_reset, half_width;
    int32_t reset, tau_ref, detach_reset;
};

// Where the neurons of one layer lie: memory is [T, B, planes, height * width] with free strides for T and B.
struct Shape {
    int64_t steps, samples, step_stride, sample_stride, planes, height, width;
};

// A tensor [T or 1, B, N]: a stride of 0 where it is the same at every step.
struct Strided {
    const void* data;
    int64_t step_stride, sample_stride;
};

struct bf16 {
    uint16_t bits;
    bf16() = default;
    explicit bf16(float value) {  // to nearest, ties to even
        uint32_t u;
        std::memcpy(&u, &value, 4);
        bits = static_cast<uint16_t>((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
    }
    explicit operator float() const {
        const uint32_t u = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &u, 4);
        return value;
    }
};

// Neurons are done in pieces of whole planes where spikes are pooled, and of this many where they are not.
constexpr int64_t PIECE = 1024;

template <class F, class O>
void emit(const F* spikes, O* out, int64_t height, int64_t width, int64_t pool_h, int64_t pool_w, F* row) {
    if (pool_h * pool_w == 1) {
        for (int64_t i = 0; i < height * width; ++i) out[i] = static_cast<O>(spikes[i]);
        return;
    }
    const F share = F(1) / F(pool_h * pool_w);
    const int64_t wide = width / pool_w;
    for (int64_t y = 0; y < height / pool_h; ++y, out += wide) {
        const F* top = spikes + y * pool_h * width;
        for (int64_t x = 0; x < width; ++x) row[x] = top[x];
        for (int64_t k = 1; k < pool_h; ++k)
            for (int64_t x = 0; x < width; ++x) row[x] += top[k * width + x];
        if (pool_w == 2) {
            for (int64_t x = 0; x < wide; ++x) out[x] = static_cast<O>((row[2 * x] + row[2 * x + 1]) * share);
            continue;
        }
        for (int64_t x = 0; x < wide; ++x) {
            F sum = 0;
            for (int64_t k = 0; k < pool_w; ++k) sum += row[x * pool_w + k];
            out[x] = static_cast<O>(sum * share);
        }
    }
}

template <class F, class O>
void scan(F* current, const Shape& shape, const Neuron& neuron, O* out, int64_t out_step, int64_t out_sample,
          int64_t pool_h, int64_t pool_w, F* rate) {
    const F beta = neuron.beta, threshold = neuron.threshold, v_rest = neuron.v_rest, v_reset = neuron.v_reset;
    const int64_t size = shape.height * shape.width;
    const int64_t out_size = (shape.height / pool_h) * (shape.width / pool_w);
#pragma omp parallel if (shape.samples * shape.planes * size * shape.steps > 1 << 16)
    {
        std::vector<F> scratch(5 * size);
        F *v = scratch.data(), *count = v + size, *spikes = v + 2 * size, *row = v + 3 * size, *since = v + 4 * size;
        const F tau_ref = neuron.tau_ref;
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < shape.samples; ++b)
            for (int64_t p = 0; p < shape.planes; ++p) {
                for (int64_t i = 0; i < size; ++i) {
                    v[i] = v_rest;
                    count[i] = 0;
                    since[i] = v_rest > threshold ? 0 : tau_ref;  // steps since the last spike, at most tau_ref
                }
                for (int64_t t = 0; t < shape.steps; ++t) {
                    F* __restrict__ I = current + t * shape.step_stride + b * shape.sample_stride + p * size;
                    if (neuron.reset == FORGET && neuron.tau_ref == 1) {
#pragma omp simd
                        for (int64_t i = 0; i < size; ++i) {
                            const F h = v[i] > threshold ? v_reset : v_rest + beta * (v[i] - v_rest);
                            I[i] = v[i] = h + I[i];
                            spikes[i] = v[i] > threshold ? F(1) : F(0);
                            count[i] += spikes[i];
                        }
                    } else if (neuron.reset == FORGET) {
#pragma omp simd
                        for (int64_t i = 0; i < size; ++i) {
                            const F h = since[i] < tau_ref ? v_reset : v_rest + beta * (v[i] - v_rest);
                            I[i] = v[i] = h + I[i];
                            spikes[i] = v[i] > threshold ? F(1) : F(0);
                            since[i] = v[i] > threshold ? F(0) : std::min(since[i] + 1, tau_ref);
                            count[i] += spikes[i];
                        }
                    } else {
                        const F off = neuron.reset == SUBTRACT ? threshold : F(0);
#pragma omp simd
                        for (int64_t i = 0; i < size; ++i) {
                            I[i] = v[i] = (beta * v[i] + I[i]) - (v[i] > threshold ? off : F(0));
                            spikes[i] = v[i] > threshold ? F(1) : F(0);
                            count[i] += spikes[i];
                        }
                    }
                    emit(spikes, out + t * out_step + b * out_sample + p * out_size, shape.height, shape.width, pool_h,
                         pool_w, row);
                }
                F* r = rate + (b * shape.planes + p) * size;
                for (int64_t i = 0; i < size; ++i) r[i] = count[i] / F(shape.steps);
            }
    }
}

template <class F>
const F* at(const Strided& x, int64_t t, int64_t b, int64_t offset) {
    return x.data ? static_cast<const F*>(x.data) + t * x.step_stride + b * x.sample_stride + offset : nullptr;
}

// The way back of n neurons of one sample, from `membrane` to gradients of the currents in the same place.
template <class F>
void back(F* membrane, int64_t step_stride, int64_t steps, int64_t n, const Neuron& neuron, const Strided& grad_spikes,
          const Strided& grad_membrane, const Strided& given_psi, int64_t b, int64_t offset, F* scratch,
          uint8_t* in_window) {
    const F beta = neuron.beta, threshold = neuron.threshold, v_rest = neuron.v_rest, v_reset = neuron.v_reset;
    const F half_width = neuron.half_width;
    const int64_t tau_ref = neuron.tau_ref;
    const bool forget = neuron.reset == FORGET, through_flag = forget && !neuron.detach_reset;
    F *a_next = scratch, *through = scratch + n, *flags = scratch + 2 * n;  // flags: the last tau_ref flag gradients
    std::fill(a_next, a_next + n, F(0));
    if (tau_ref > 1)  // how many spikes hold up the flag r_t
        for (int64_t t = 0; t < steps; ++t)
            for (int64_t i = 0; i < n; ++i) {
                uint8_t spikes = 0;
                for (int64_t k = 0; k < std::min(tau_ref, t + 1); ++k)
                    spikes += membrane[(t - k) * step_stride + i] > threshold;
                in_window[t * n + i] = spikes + (t < tau_ref - 1 && v_rest > threshold);
            }
    for (int64_t t = steps - 1; t >= 0; --t) {
        F* __restrict__ v = membrane + t * step_stride;
        const F* gs = at<F>(grad_spikes, t, b, offset);
        const F* gm = at<F>(grad_membrane, t, b, offset);
        const F* psi = at<F>(given_psi, t, b, offset);
        if (forget && tau_ref == 1 && gs && !gm && !psi) {  // the common case, in one loop
            const F flag = through_flag ? F(1) : F(0);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) {
                const F left = v_rest + beta * (v[i] - v_rest);
                const F sent = gs[i] + flag * (a_next[i] * (v_reset - left));
                const F shaped = std::abs(v[i] - threshold) < half_width ? sent : F(0);
                const F kept = v[i] > threshold ? F(0) : beta * a_next[i];
                v[i] = a_next[i] = shaped + kept;
            }
            continue;
        }
        for (int64_t i = 0; i < n; ++i) through[i] = gs ? gs[i] : F(0);
        if (through_flag) {
            F* now = flags + (t % tau_ref) * n;
            for (int64_t i = 0; i < n; ++i) now[i] = a_next[i] * (v_reset - (v_rest + beta * (v[i] - v_rest)));
            for (int64_t later = t; later < std::min(t + tau_ref, steps); ++later) {
                const F* flag = flags + (later % tau_ref) * n;
                for (int64_t i = 0; i < n; ++i) {  // where no other spike holds up the flag r_later
                    const bool alone = tau_ref == 1 || in_window[later * n + i] == (v[i] > threshold);
                    through[i] += alone ? flag[i] : F(0);
                }
            }
        }
        for (int64_t i = 0; i < n; ++i) {
            const F shape = psi ? psi[i] : (std::abs(v[i] - threshold) < half_width ? F(1) : F(0));
            const bool up = forget && (tau_ref == 1 ? v[i] > threshold : in_window[t * n + i] > 0);
            v[i] = a_next[i] = ((gm ? gm[i] : F(0)) + shape * through[i]) + (up ? F(0) : beta * a_next[i]);
        }
    }
}

template <class F>
void adjoint(F* membrane, const Shape& shape, const Neuron& neuron, const Strided& grad_spikes,
             const Strided& grad_membrane, const Strided& psi) {
    const int64_t neurons = shape.planes * shape.height * shape.width;
    const int64_t pieces = (neurons + PIECE - 1) / PIECE;
#pragma omp parallel if (shape.samples * neurons * shape.steps > 1 << 16)
    {
        std::vector<F> scratch((2 + neuron.tau_ref) * PIECE);
        std::vector<uint8_t> in_window(neuron.tau_ref > 1 ? shape.steps * PIECE : 0);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < shape.samples; ++b)
            for (int64_t p = 0; p < pieces; ++p) {
                const int64_t offset = p * PIECE;
                back(membrane + b * shape.sample_stride + offset, shape.step_stride, shape.steps,
                     std::min(PIECE, neurons - offset), neuron, grad_spikes, grad_membrane, psi, b, offset,
                     scratch.data(), in_window.data());
            }
    }
}

}  // namespace

#define SCAN(name, F, O)                                                                                            \
    extern "C" void name(F* current, const Shape* shape, const Neuron* neuron, O* out, int64_t out_step,            \
                         int64_t out_sample, int64_t pool_h, int64_t pool_w, F* rate) {                             \
        scan<F, O>(current, *shape, *neuron, out, out_step, out_sample, pool_h, pool_w, rate);                      \
    }
#define ADJOINT(name, F)                                                                                            \
    extern "C" void name(F* membrane, const Shape* shape, const Neuron* neuron, const Strided* grad_spikes,         \
                         const Strided* grad_membrane, const Strided* psi) {                                        \
        adjoint<F>(membrane, *shape, *neuron, *grad_spikes, *grad_membrane, *psi);                                  \
    }

SCAN(scan_float32, float, float)
SCAN(scan_float32_to_bfloat16, float, bf16)
SCAN(scan_float64, double, double)
ADJOINT(adjoint_float32, float)
ADJOINT(adjoint_float64, double)

// x = first + second + third to 24 bits, each in bfloat16; the later parts only where asked for.
extern "C" void split_float32(const float* x, int64_t n, bf16* first, bf16* second, bf16* third) {
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
    for (int64_t i = 0; i < n; ++i) {
        const bf16 one(x[i]);
        first[i] = one;
        if (!second) continue;
        const float left = x[i] - static_cast<float>(one);
        const bf16 two(left);
        second[i] = two;
        third[i] = bf16(left - static_cast<float>(two));
    }
}
