// Bfloat16 matrix units in plain C++, so that products.cpp can be tested on processors that have none.
// Included ahead of it, with __AMX_BF16__ defined; eight tiles of 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>
#include <cstdint>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

#define syscall(...) 0  // the system allows them

inline thread_local uint8_t tiles[8][16][64];

inline void plain_loadconfig(const void*) { std::memset(tiles, 0, sizeof tiles); }
inline void plain_release() {}

inline void plain_loadd(int tile, const void* from, int64_t stride) {
    for (int row = 0; row < 16; ++row) std::memcpy(tiles[tile][row], static_cast<const char*>(from) + row * stride, 64);
}

inline void plain_stored(int tile, void* to, int64_t stride) {
    for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * stride, tiles[tile][row], 64);
}

inline float half(const uint8_t* at) {
    uint16_t bits;
    std::memcpy(&bits, at, 2);
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

// sums [16, 16] += left [16, 16 pairs] right [16 pairs, 16]
inline void plain_dpbf16ps(int sums, int left, int right) {
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < 16; ++k)
            for (int column = 0; column < 16; ++column) {
                float sum;
                std::memcpy(&sum, tiles[sums][row] + 4 * column, 4);
                double more = 0;
                for (int pair = 0; pair < 2; ++pair)
                    more += double(half(tiles[left][row] + 4 * k + 2 * pair)) * half(tiles[right][k] + 4 * column + 2 * pair);
                sum = static_cast<float>(sum + more);
                std::memcpy(tiles[sums][row] + 4 * column, &sum, 4);
            }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig plain_loadconfig
#define _tile_release plain_release
#define _tile_loadd plain_loadd
#define _tile_stored plain_stored
#define _tile_dpbf16ps plain_dpbf16ps
