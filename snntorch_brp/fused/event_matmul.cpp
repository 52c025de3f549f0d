// Products of sparse spikes with dense matrices: event_matmul.py says where they pay and calls this file by ctypes.
//
// Only inputs other than 0 are looked at. Of the dense matrix, a block of columns at a time lies in cache; the sums of
// one row of the result stay in registers. Every sum is taken in the same order, however many threads there are.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Spikes [rows, inputs] of 1 byte, or of 4 as float32, and what a layer makes of them, [rows, outputs].
struct Spikes {
    const void* data;
    int64_t bytes, rows, inputs, outputs;
};

#ifdef __AVX512F__
constexpr int64_t LANES = 16;
#else
constexpr int64_t LANES = 8;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

constexpr int64_t VECTORS = 8, BLOCK = VECTORS * LANES;  // columns of the dense matrix in cache,
constexpr int64_t DEPTH = 65536 / BLOCK;                 // and rows of it: 256 kB
constexpr int64_t SQUARE = 16;                           // numbers of a cache line, for turning a matrix round

// The spikes other than 0, row by row, in stripes of DEPTH columns.
struct Events {
    int64_t rows, columns;
    std::vector<int64_t> first;  // [stripes, rows + 1]: where in `column` and `value` a row's events begin
    std::vector<int32_t> column;  // less the first of its stripe
    std::vector<float> value;

    Events(int64_t rows, int64_t columns) : rows(rows), columns(columns), first(stripes() * (rows + 1)) {}
    int64_t stripes() const { return (columns + DEPTH - 1) / DEPTH; }
    int64_t begin(int64_t stripe) const { return stripe * DEPTH; }
    int64_t end(int64_t stripe) const { return std::min(columns, begin(stripe) + DEPTH); }
};

// Of the spikes as they lie: a row's events are a sample's, at one step.
template <typename Spike>
Events events_of(const Spike* spikes, int64_t rows, int64_t inputs) {
    Events events(rows, inputs);
    int64_t found = 0;
    const auto make_room = [&](int64_t more) { events.column.resize(found + more), events.value.resize(found + more); };
    for (int64_t stripe = 0; stripe < events.stripes(); ++stripe) {
        const int64_t begin = events.begin(stripe), end = events.end(stripe);
        int64_t* first = &events.first[stripe * (rows + 1)];
        for (int64_t row = 0; row < rows; ++row) {
            first[row] = found;
            make_room(end - begin + 1);
            for (int64_t i = begin; i < end; ++i) {  // no branch, which nobody could predict
                const Spike spike = spikes[row * inputs + i];
                events.column[found] = static_cast<int32_t>(i - begin);
                events.value[found] = static_cast<float>(spike);
                found += spike != 0;
            }
        }
        first[rows] = found;
    }
    make_room(0);
    return events;
}

// Of the spikes turned round: a row's events are those of one input.
template <typename Spike>
Events events_by_input(const Spike* spikes, int64_t rows, int64_t inputs) {
    Events events(inputs, rows);
    const Events given = events_of(spikes, rows, inputs);
    events.column.resize(given.column.size()), events.value.resize(given.value.size());
    std::vector<int64_t> next(inputs + 1);
    int64_t found = 0;
    for (int64_t stripe = 0; stripe < events.stripes(); ++stripe) {
        const auto each = [&](auto what) {
            for (int64_t part = 0; part < given.stripes(); ++part)
                for (int64_t row = events.begin(stripe); row < events.end(stripe); ++row) {
                    const int64_t* first = &given.first[part * (rows + 1) + row];
                    for (int64_t e = first[0]; e < first[1]; ++e) what(given.begin(part) + given.column[e], row, e);
                }
        };
        std::fill(next.begin(), next.end(), 0);
        each([&](int64_t input, int64_t, int64_t) { ++next[input]; });
        int64_t* first = &events.first[stripe * (inputs + 1)];
        for (int64_t input = 0; input <= inputs; ++input) {
            first[input] = found;
            found += input < inputs ? next[input] : 0;
        }
        std::copy(first, first + inputs, next.begin());
        each([&](int64_t input, int64_t row, int64_t e) {
            events.column[next[input]] = static_cast<int32_t>(row - events.begin(stripe));
            events.value[next[input]++] = given.value[e];
        });
    }
    return events;
}

// Adds to sums [rows, BLOCK] the rows of packed [DEPTH, BLOCK] that the events of one stripe name.
void add_stripe(const Events& events, int64_t stripe, const float* packed, float* sums) {
    const int64_t* first = &events.first[stripe * (events.rows + 1)];
    for (int64_t row = 0; row < events.rows; ++row, sums += BLOCK) {
        if (first[row] == first[row + 1]) continue;
        Vector sum[VECTORS];
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) std::memcpy(&sum[i], sums + LANES * i, sizeof(Vector));
        for (int64_t e = first[row]; e < first[row + 1]; ++e) {
            const float* from = packed + events.column[e] * BLOCK;
            const float value = events.value[e];
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) sum[i] += value * *reinterpret_cast<const Vector*>(from + LANES * i);
        }
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) std::memcpy(sums + LANES * i, &sum[i], sizeof(Vector));
    }
}

// to[j, i] = from[i, j], with rows of from and to that lie so far apart.
void turn(const float* from, int64_t rows, int64_t columns, int64_t from_row, float* to, int64_t to_row) {
    for (int64_t i = 0; i < rows; i += SQUARE)
        for (int64_t j = 0; j < columns; ++j)
            for (int64_t k = i; k < std::min(rows, i + SQUARE); ++k) to[j * to_row + k] = from[k * from_row + j];
}

// The product of events [R, C] with a dense matrix [C, outputs], a block of `width` of its columns after the other:
// `pack` brings the rows of one stripe, [*, BLOCK], `start` and `store` fill and take the sums, [R, BLOCK]. What stands
// behind `width` columns is never looked at.
template <typename Pack, typename Start, typename Store>
void multiply(const Events& events, int64_t outputs, Pack pack, Start start, Store store) {
#pragma omp parallel
    {
        std::vector<float> packed(DEPTH * BLOCK), sums(events.rows * BLOCK);
#pragma omp for schedule(static)
        for (int64_t block = 0; block < outputs; block += BLOCK) {
            const int64_t width = std::min(BLOCK, outputs - block);
            start(block, width, sums.data());
            for (int64_t stripe = 0; stripe < events.stripes(); ++stripe) {
                pack(events.begin(stripe), events.end(stripe), block, width, packed.data());
                add_stripe(events, stripe, packed.data(), sums.data());
            }
            store(block, width, sums.data());
        }
    }
}

template <typename Spike>
void linear(const Spikes& z, const float* weight, const float* bias, float* out) {
    multiply(
        events_of(static_cast<const Spike*>(z.data), z.rows, z.inputs), z.outputs,
        [&](int64_t begin, int64_t end, int64_t block, int64_t width, float* packed) {
            turn(weight + block * z.inputs + begin, width, end - begin, z.inputs, packed, BLOCK);
        },
        [&](int64_t block, int64_t width, float* sums) {
            for (int64_t row = 0; row < z.rows; ++row) std::copy_n(bias + block, width, sums + row * BLOCK);
        },
        [&](int64_t block, int64_t width, const float* sums) {
            for (int64_t row = 0; row < z.rows; ++row) std::copy_n(sums + row * BLOCK, width, out + row * z.outputs + block);
        });
}

template <typename Spike>
void weight_gradient(const Spikes& z, const float* a, float* gradient) {
    multiply(
        events_by_input(static_cast<const Spike*>(z.data), z.rows, z.inputs), z.outputs,
        [&](int64_t begin, int64_t end, int64_t block, int64_t width, float* packed) {
            for (int64_t row = begin; row < end; ++row, packed += BLOCK) std::copy_n(a + row * z.outputs + block, width, packed);
        },
        [&](int64_t, int64_t, float* sums) { std::fill_n(sums, z.inputs * BLOCK, 0.0f); },
        [&](int64_t block, int64_t width, const float* sums) {
            turn(sums, z.inputs, width, BLOCK, gradient + block * z.inputs, z.inputs);
        });
}

}  // namespace

// out [rows, outputs] = z Wᵀ + b, with weights W [outputs, inputs] and biases b [outputs].
extern "C" void event_linear(const Spikes* z, const float* weight, const float* bias, float* out) {
    z->bytes == 1 ? linear<uint8_t>(*z, weight, bias, out) : linear<float>(*z, weight, bias, out);
}

// gradient [outputs, inputs] = aᵀ z, with gradients a [rows, outputs] of the currents.
extern "C" void event_weight_gradient(const Spikes* z, const float* a, float* gradient) {
    z->bytes == 1 ? weight_gradient<uint8_t>(*z, a, gradient) : weight_gradient<float>(*z, a, gradient);
}

extern "C" void event_struct_sizes(int64_t* sizes) { sizes[0] = sizeof(Spikes); }
