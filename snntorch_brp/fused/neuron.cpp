// One layer of leaky neurons over all T steps: scan, pooling and adjoint, with the state in cache.
//
// The definitions are in scan.py; this file does the same arithmetic in the same order, so that results are
// equal bit for bit (compile with -ffp-contract=off), but for sums and divisions in the pseudo-gradients.
// neuron_kernels.py builds it on first use and calls it by ctypes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

enum Reset : int32_t { FORGET, SUBTRACT, NONE };

enum Form : int32_t { GIVEN, BOXCAR, FAST_SIGMOID, ATAN, STRAIGHT_THROUGH, TRIANGULAR, HEAVISIDE };

// The constants of a layer. Where `betas` is not null it points to one decay and one threshold (F) for each neuron of a
// sample, as the neurons lie in memory, and `beta` and `threshold` mean nothing.
struct Neuron {
    double beta, threshold, v_rest, v_reset, slope;
    const void *betas, *thresholds;
    int32_t reset, tau_ref, detach_reset, form;  // form: of the pseudo-gradient, with its slope or half-width
};

// A constant that is the same for a layer, or a neuron's own.
template <class F, bool own>
struct Constant {
    F all;
    const F* each;
    F operator[](int64_t i) const { return own ? each[i] : all; }
};

template <class F, bool own>
Constant<F, own> constant(double all, const void* each, int64_t offset) {
    return {static_cast<F>(all), own ? static_cast<const F*>(each) + offset : nullptr};
}

// Where the neurons of one layer lie: [T, B, planes, height, width], or [T, B, height, width, planes] with channels
// last, with free strides for T and B.
struct Shape {
    int64_t steps, samples, step_stride, sample_stride, planes, height, width, channels_last;
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
    const F among = F(pool_h * pool_w);
    const int64_t wide = width / pool_w;
    for (int64_t y = 0; y < height / pool_h; ++y, out += wide) {
        const F* top = spikes + y * pool_h * width;
        for (int64_t x = 0; x < width; ++x) row[x] = top[x];
        for (int64_t k = 1; k < pool_h; ++k)
            for (int64_t x = 0; x < width; ++x) row[x] += top[k * width + x];
        if (pool_w == 2) {
            for (int64_t x = 0; x < wide; ++x) out[x] = static_cast<O>((row[2 * x] + row[2 * x + 1]) / among);
            continue;
        }
        for (int64_t x = 0; x < wide; ++x) {
            F sum = 0;
            for (int64_t k = 0; k < pool_w; ++k) sum += row[x * pool_w + k];
            out[x] = static_cast<O>(sum / among);
        }
    }
}

// The same from channels-last rows to one row of each plane of the output.
template <class F, class O>
void emit_last(const F* spikes, O* out, int64_t planes, int64_t out_plane, int64_t width, int64_t pool_h, int64_t pool_w,
               F* row, O* narrow) {
    const F among = F(pool_h * pool_w);
    const int64_t wide = width / pool_w;
    for (int64_t x = 0; x < wide && among > 1; ++x) {
        F* __restrict__ sum = row + x * planes;
        std::fill(sum, sum + planes, F(0));
        for (int64_t y = 0; y < pool_h; ++y)
            for (int64_t k = 0; k < pool_w; ++k) {
                const F* __restrict__ from = spikes + (y * width + x * pool_w + k) * planes;
                for (int64_t c = 0; c < planes; ++c) sum[c] += from[c];
            }
        for (int64_t c = 0; c < planes; ++c) sum[c] /= among;
    }
    const F* from = among > 1 ? row : spikes;
    for (int64_t i = 0; i < wide * planes; ++i) narrow[i] = static_cast<O>(from[i]);
    for (int64_t c = 0; c < planes; ++c)
        for (int64_t x = 0; x < wide; ++x) out[c * out_plane + x] = narrow[x * planes + c];
}

// One step of n neurons: currents become membranes.
template <class F, bool own>
void advance(F* __restrict__ I, F* __restrict__ v, F* __restrict__ since, F* __restrict__ spikes, F* __restrict__ count,
             int64_t n, int64_t offset, const Neuron& neuron) {
    const auto beta = constant<F, own>(neuron.beta, neuron.betas, offset);
    const auto threshold = constant<F, own>(neuron.threshold, neuron.thresholds, offset);
    const F v_rest = neuron.v_rest, v_reset = neuron.v_reset;
    const F tau_ref = neuron.tau_ref;
    if (neuron.reset == FORGET && neuron.tau_ref == 1) {
        for (int64_t i = 0; i < n; ++i) {
            const F h = v[i] > threshold[i] ? v_reset : v_rest + beta[i] * (v[i] - v_rest);
            I[i] = v[i] = h + I[i];
            spikes[i] = v[i] > threshold[i] ? F(1) : F(0);
            count[i] += spikes[i];
        }
    } else if (neuron.reset == FORGET) {
        for (int64_t i = 0; i < n; ++i) {  // since: steps since the last spike, at most tau_ref
            const F h = since[i] < tau_ref ? v_reset : v_rest + beta[i] * (v[i] - v_rest);
            I[i] = v[i] = h + I[i];
            spikes[i] = v[i] > threshold[i] ? F(1) : F(0);
            since[i] = v[i] > threshold[i] ? F(0) : std::min(since[i] + 1, tau_ref);
            count[i] += spikes[i];
        }
    } else {
        const F subtracts = neuron.reset == SUBTRACT ? F(1) : F(0);
        for (int64_t i = 0; i < n; ++i) {
            I[i] = v[i] = (beta[i] * v[i] + I[i]) - (v[i] > threshold[i] ? subtracts * threshold[i] : F(0));
            spikes[i] = v[i] > threshold[i] ? F(1) : F(0);
            count[i] += spikes[i];
        }
    }
}

#ifdef __AVX512F__
constexpr int64_t VECTOR = 64;
#else
constexpr int64_t VECTOR = 32;
#endif

constexpr int64_t WIDE = 4;  // vectors of neurons that go through all steps together

template <class F>
struct Vectors {
    typedef F Type __attribute__((vector_size(VECTOR)));
};
template <class F>
using Vector = typename Vectors<F>::Type;

// Spikes of WIDE vectors of neurons, 0 or 1, as O.
template <class F, class O>
inline void put(const Vector<F>* fired, O* to) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (std::is_same_v<F, float> && std::is_same_v<O, uint8_t>) {  // the compiler's own way takes twice as long
        __m256i whole[WIDE];
        for (int64_t k = 0; k < WIDE; ++k) whole[k] = _mm256_cvttps_epi32(reinterpret_cast<__m256>(fired[k]));
        const __m256i halves = _mm256_packs_epi32(whole[0], whole[1]), others = _mm256_packs_epi32(whole[2], whole[3]);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packs work on halves of a vector
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(halves, others), order);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
        return;
    }
#endif
    constexpr int64_t LANES = VECTOR / sizeof(F);
    typedef O Out __attribute__((vector_size(LANES * sizeof(O)), aligned(sizeof(O)), may_alias));
    for (int64_t k = 0; k < WIDE; ++k) *reinterpret_cast<Out*>(to + k * LANES) = __builtin_convertvector(fired[k], Out);
}

// Neurons of one step of refractory period whose spikes are not pooled: a few vectors of them go through all steps with
// their state in registers, from `current`, or `same` at every step. Gives how many of n were done.
template <class F, class O, bool forget>
int64_t run(F* current, int64_t step_stride, const F* same, int64_t steps, const Neuron& neuron, O* out, int64_t out_step,
            F* rate, int64_t n) {
    typedef Vector<F> V;
    typedef F Loose __attribute__((vector_size(VECTOR), aligned(sizeof(F)), may_alias));
    constexpr int64_t LANES = VECTOR / sizeof(F);
    const F beta = neuron.beta, threshold = neuron.threshold, v_rest = neuron.v_rest, v_reset = neuron.v_reset;
    const V zero = {}, one = zero + F(1), reset = zero + v_reset, off = zero + (neuron.reset == SUBTRACT ? threshold : F(0));
    int64_t done = 0;
    for (; done + WIDE * LANES <= n; done += WIDE * LANES) {
        V v[WIDE], count[WIDE];
#pragma GCC unroll 4
        for (int64_t k = 0; k < WIDE; ++k) v[k] = zero + v_rest, count[k] = zero;
        for (int64_t t = 0; t < steps; ++t) {
            F* I = current + t * step_stride + done;
            const F* from = same ? same + done : I;
            V fired[WIDE];
#pragma GCC unroll 4
            for (int64_t k = 0; k < WIDE; ++k) {
                const V now = *reinterpret_cast<const Loose*>(from + k * LANES);
                if (forget)
                    v[k] = (v[k] > threshold ? reset : v_rest + beta * (v[k] - v_rest)) + now;
                else
                    v[k] = (beta * v[k] + now) - (v[k] > threshold ? off : zero);
                *reinterpret_cast<Loose*>(I + k * LANES) = v[k];
                fired[k] = v[k] > threshold ? one : zero;
                count[k] += fired[k];
            }
            put<F, O>(fired, out + t * out_step + done);
        }
#pragma GCC unroll 4
        for (int64_t k = 0; k < WIDE; ++k) *reinterpret_cast<Loose*>(rate + done + k * LANES) = count[k] / F(steps);
    }
    return done;
}

// Where channels come first a piece is a plane of one channel; where they come last it is a band of rows that is
// pooled to one row of the output. Where `same` is not null, [B, N], it is the current at every step, and `current` is
// only written.
template <class F, class O, bool own>
void scan(F* current, const Shape& shape, const Neuron& neuron, const F* same, O* out, int64_t out_step,
          int64_t out_sample, int64_t pool_h, int64_t pool_w, F* rate) {
    const bool last = shape.channels_last;
    const int64_t plane = shape.height * shape.width, neurons = shape.planes * plane;
    const int64_t high = shape.height / pool_h, wide = shape.width / pool_w;
    const int64_t size = last ? pool_h * shape.width * shape.planes : plane, pieces = (neurons + size - 1) / size;
#pragma omp parallel if (shape.samples * neurons * shape.steps > 1 << 16)
    {
        std::vector<F> scratch(5 * size);
        std::vector<O> narrow(size);
        F *v = scratch.data(), *count = v + size, *spikes = v + 2 * size, *row = v + 3 * size, *since = v + 4 * size;
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < shape.samples; ++b)
            for (int64_t p = 0; p < pieces; ++p) {
                int64_t n = std::min(size, neurons - p * size), start = p * size;
                if constexpr (!own && !std::is_same_v<O, bf16>)
                    if (!last && pool_h * pool_w == 1 && neuron.tau_ref == 1) {
                        const auto all_steps = neuron.reset == FORGET ? run<F, O, true> : run<F, O, false>;
                        const int64_t done = all_steps(current + b * shape.sample_stride + start, shape.step_stride,
                                                       same ? same + b * neurons + start : nullptr, shape.steps, neuron,
                                                       out + b * out_sample + start, out_step, rate + b * neurons + start, n);
                        start += done, n -= done;
                        if (n == 0) continue;
                    }
                std::fill(v, v + n, F(neuron.v_rest));
                std::fill(count, count + n, F(0));
                const auto threshold = constant<F, own>(neuron.threshold, neuron.thresholds, start);
                for (int64_t i = 0; i < n; ++i) since[i] = F(neuron.v_rest) > threshold[i] ? 0 : neuron.tau_ref;
                for (int64_t t = 0; t < shape.steps; ++t) {
                    F* I = current + t * shape.step_stride + b * shape.sample_stride + start;
                    if (same) std::copy_n(same + b * neurons + start, n, I);
                    advance<F, own>(I, v, since, spikes, count, n, start, neuron);
                    O* to = out + t * out_step + b * out_sample;
                    if (!last && pool_h * pool_w == 1)
                        for (int64_t i = 0; i < n; ++i) to[start + i] = static_cast<O>(spikes[i]);
                    else if (!last)
                        emit(spikes, to + p * high * wide, shape.height, shape.width, pool_h, pool_w, row);
                    else if (p < high)
                        emit_last(spikes, to + p * wide, shape.planes, high * wide, shape.width, pool_h, pool_w, row,
                                  narrow.data());
                }
                F* r = rate + b * neurons + start;
                for (int64_t i = 0; i < n; ++i) r[i] = count[i] / F(shape.steps);
            }
    }
}

template <class F>
const F* at(const Strided& x, int64_t t, int64_t b, int64_t offset) {
    return x.data ? static_cast<const F*>(x.data) + t * x.step_stride + b * x.sample_stride + offset : nullptr;
}

// Pseudo-gradients of n neurons, from their membranes.
template <class F, bool own>
void shape(const F* __restrict__ v, F* __restrict__ psi, int64_t n, const Neuron& neuron, Constant<F, own> threshold) {
    const F slope = neuron.slope;
    switch (neuron.form) {
        case BOXCAR:
            for (int64_t i = 0; i < n; ++i) psi[i] = std::abs(v[i] - threshold[i]) < slope ? F(1) : F(0);
            break;
        case FAST_SIGMOID:
            for (int64_t i = 0; i < n; ++i) {
                const F x = slope * std::abs(v[i] - threshold[i]) + F(1);
                psi[i] = F(1) / (x * x);
            }
            break;
        case ATAN:
            for (int64_t i = 0; i < n; ++i) {
                const F x = F(M_PI_2) * slope * (v[i] - threshold[i]);
                psi[i] = slope / F(2) / (F(1) + x * x);
            }
            break;
        case TRIANGULAR:
            for (int64_t i = 0; i < n; ++i) psi[i] = v[i] - threshold[i] >= 0 ? -slope : slope;
            break;
        case HEAVISIDE:
            for (int64_t i = 0; i < n; ++i) psi[i] = v[i] > threshold[i] ? F(1) : F(0);
            break;
        default:
            std::fill(psi, psi + n, F(1));
    }
}

// The way back of n neurons of one sample, from `membrane` to gradients of the currents in the same place; where
// `grad_beta` is not null, gradients of decays and thresholds are taken, too.
template <class F, bool own>
void back(F* membrane, int64_t step_stride, int64_t steps, int64_t n, const Neuron& neuron, const Strided& grad_spikes,
          const Strided& grad_membrane, const Strided& given_psi, int64_t b, int64_t offset, F* scratch,
          uint8_t* in_window, F* grad_beta, F* grad_threshold) {
    const auto beta = constant<F, own>(neuron.beta, neuron.betas, offset);
    const auto threshold = constant<F, own>(neuron.threshold, neuron.thresholds, offset);
    const F v_rest = neuron.v_rest, v_reset = neuron.v_reset;
    const int64_t tau_ref = neuron.tau_ref;
    const bool forget = neuron.reset == FORGET, through_flag = forget && !neuron.detach_reset;
    F *a_next = scratch, *through = scratch + n, *own_psi = scratch + 2 * n;
    F* flags = scratch + 3 * n;  // the last tau_ref flag gradients
    std::fill(a_next, a_next + n, F(0));
    const bool learned = grad_beta != nullptr;
    if (learned) {
        std::fill(grad_beta, grad_beta + n, F(0));
        std::fill(grad_threshold, grad_threshold + n, F(0));
    }
    if (tau_ref > 1)  // how many spikes hold up the flag r_t
        for (int64_t t = 0; t < steps; ++t)
            for (int64_t i = 0; i < n; ++i) {
                uint8_t spikes = 0;
                for (int64_t k = 0; k < std::min(tau_ref, t + 1); ++k)
                    spikes += membrane[(t - k) * step_stride + i] > threshold[i];
                in_window[t * n + i] = spikes + (t < tau_ref - 1 && v_rest > threshold[i]);
            }
    for (int64_t t = steps - 1; t >= 0; --t) {
        F* __restrict__ v = membrane + t * step_stride;
        const F* gs = at<F>(grad_spikes, t, b, offset);
        const F* gm = at<F>(grad_membrane, t, b, offset);
        const F* psi = at<F>(given_psi, t, b, offset);
        const F flag = through_flag ? F(1) : F(0);
        if (forget && tau_ref == 1 && gs && !gm && neuron.form == BOXCAR && !learned) {  // the paper's case, in one loop
            const F half_width = neuron.slope;
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) {
                const F left = v_rest + beta[i] * (v[i] - v_rest);
                const F sent = gs[i] + flag * (a_next[i] * (v_reset - left));
                const F shaped = std::abs(v[i] - threshold[i]) < half_width ? sent : F(0);
                const F kept = v[i] > threshold[i] ? F(0) : beta[i] * a_next[i];
                v[i] = a_next[i] = shaped + kept;
            }
            continue;
        }
        if (!psi) {
            shape<F, own>(v, own_psi, n, neuron, threshold);
            psi = own_psi;
        }
        if (tau_ref == 1 && gs && !gm && !learned) {  // snnTorch's own neurons
            const F drops = forget ? F(0) : F(1);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) {
                const F left = v_rest + beta[i] * (v[i] - v_rest);
                const F sent = gs[i] + flag * (a_next[i] * (v_reset - left));
                const F kept = (v[i] > threshold[i] ? drops : F(1)) * (beta[i] * a_next[i]);
                v[i] = a_next[i] = psi[i] * sent + kept;
            }
            continue;
        }
        for (int64_t i = 0; i < n; ++i) through[i] = gs ? gs[i] : F(0);
        if (through_flag) {
            F* now = flags + (t % tau_ref) * n;
            for (int64_t i = 0; i < n; ++i) now[i] = a_next[i] * (v_reset - (v_rest + beta[i] * (v[i] - v_rest)));
            for (int64_t later = t; later < std::min(t + tau_ref, steps); ++later) {
                const F* flag_grads = flags + (later % tau_ref) * n;
                for (int64_t i = 0; i < n; ++i) {  // where no other spike holds up the flag r_later
                    const bool alone = tau_ref == 1 || in_window[later * n + i] == (v[i] > threshold[i]);
                    through[i] += alone ? flag_grads[i] : F(0);
                }
            }
        }
        if (learned) {  // of one step of refractory period
            const F taken_off = neuron.reset == SUBTRACT ? F(1) : F(0), dropped = forget ? F(0) : F(1);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) {
                const F s = v[i] > threshold[i] ? F(1) : F(0), kept = v[i] > threshold[i] ? dropped : F(1);
                grad_beta[i] += kept * a_next[i] * (v[i] - v_rest);
                grad_threshold[i] -= psi[i] * through[i] + taken_off * s * a_next[i];
            }
        }
        for (int64_t i = 0; i < n; ++i) {
            const bool up = forget && (tau_ref == 1 ? v[i] > threshold[i] : in_window[t * n + i] > 0);
            v[i] = a_next[i] = ((gm ? gm[i] : F(0)) + psi[i] * through[i]) + (up ? F(0) : beta[i] * a_next[i]);
        }
    }
}

// The sum of n numbers over all steps.
template <class F>
void add_steps(const F* __restrict__ from, int64_t step_stride, int64_t steps, int64_t n, F* __restrict__ total) {
    std::copy_n(from, n, total);
    for (int64_t t = 1; t < steps; ++t)
        for (int64_t i = 0; i < n; ++i) total[i] += from[t * step_stride + i];
}

// `learned`: null, or [2, B, N] for gradients of decays and of thresholds. `total`: null, or [B, N] for the sum of the
// gradients over all steps.
template <class F, bool own>
void adjoint(F* membrane, const Shape& shape, const Neuron& neuron, const Strided& grad_spikes,
             const Strided& grad_membrane, const Strided& psi, F* learned, F* total) {
    const int64_t neurons = shape.planes * shape.height * shape.width;
    const int64_t pieces = (neurons + PIECE - 1) / PIECE;
#pragma omp parallel if (shape.samples * neurons * shape.steps > 1 << 16)
    {
        std::vector<F> scratch((3 + neuron.tau_ref) * PIECE);
        std::vector<uint8_t> in_window(neuron.tau_ref > 1 ? shape.steps * PIECE : 0);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < shape.samples; ++b)
            for (int64_t p = 0; p < pieces; ++p) {
                const int64_t offset = p * PIECE, n = std::min(PIECE, neurons - offset);
                F* grad_beta = learned ? learned + b * neurons + offset : nullptr;
                F* own_piece = membrane + b * shape.sample_stride + offset;
                back<F, own>(own_piece, shape.step_stride, shape.steps, n, neuron, grad_spikes, grad_membrane, psi, b,
                             offset, scratch.data(), in_window.data(), grad_beta,
                             learned ? grad_beta + shape.samples * neurons : nullptr);
                if (total) add_steps(own_piece, shape.step_stride, shape.steps, n, total + b * neurons + offset);
            }
    }
}

}  // namespace

extern "C" void neuron_struct_sizes(int64_t* sizes) {
    sizes[0] = sizeof(Neuron);
    sizes[1] = sizeof(Shape);
    sizes[2] = sizeof(Strided);
}

#define SCAN(name, F, O)                                                                                            \
    extern "C" void name(F* current, const Shape* shape, const Neuron* neuron, const F* same, O* out,               \
                         int64_t out_step, int64_t out_sample, int64_t pool_h, int64_t pool_w, F* rate) {           \
        const auto run = neuron->betas ? scan<F, O, true> : scan<F, O, false>;                                      \
        run(current, *shape, *neuron, same, out, out_step, out_sample, pool_h, pool_w, rate);                       \
    }
#define ADJOINT(name, F)                                                                                            \
    extern "C" void name(F* membrane, const Shape* shape, const Neuron* neuron, const Strided* grad_spikes,         \
                         const Strided* grad_membrane, const Strided* psi, F* learned, F* total) {                  \
        const auto run = neuron->betas ? adjoint<F, true> : adjoint<F, false>;                                      \
        run(membrane, *shape, *neuron, *grad_spikes, *grad_membrane, *psi, learned, total);                         \
    }

SCAN(scan_float32, float, float)
SCAN(scan_float32_to_bfloat16, float, bf16)
SCAN(scan_float32_to_uint8, float, uint8_t)
SCAN(scan_float64, double, double)
SCAN(scan_float64_to_uint8, double, uint8_t)
ADJOINT(adjoint_float32, float)
ADJOINT(adjoint_float64, double)
