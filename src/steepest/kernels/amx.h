// Products of bfloat16 on a processor's matrix unit (AMX): of (16 × 32) times (32 × 16) numbers in one instruction, summed in
// float, where a vector's has 32 of halves. The transforms compute with halves as elsewhere (half.h).
//
// A Shifted is a half whose bits stand as a bfloat16's, 3 fewer of them behind the point: a number 2¹¹² times smaller. The
// other side of a product is as much larger. So shifting is all that it takes, but an infinite half becomes a finite number:
// who stores them looks for such.

#pragma once

#include "half.h"

#if defined(STEEPEST_HALF) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define STEEPEST_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

constexpr int TILE = 16;  // rows of one of the unit's registers, a tile

// What the left side of a weights' gradient, and what a product's sum, is stored as, where the other numbers are of a Number.
template <class Number>
struct Product {
    using Left = Number;
    using Sum = Number;
    static constexpr bool amx = false;
    struct Unit {};  // what is made ready while products are computed
};

#if defined(STEEPEST_AMX)

constexpr float FAR = 0x1p112f;

struct Shifted {
    std::uint16_t bits;
};

typedef std::int16_t Signed __attribute__((vector_size(L * sizeof(float))));

INLINE Halves joined(const Vec* parts, float scale, const Shifted*) { return joined(parts, scale, static_cast<const Half*>(nullptr)); }
INLINE void store(Shifted* p, Halves v) { store(reinterpret_cast<Half*>(p), (Halves)((Words)((Signed)v >> 3) & 0x8fff8fffu)); }
INLINE void store_pair(Shifted* p, Vec v, Vec w) {
    store(reinterpret_cast<Half*>(p), (Halves)(words(rounded(v * FAR)) | words(rounded(w * FAR)) << 16));
}

// Whether this process may use the unit: it has to ask the system.
inline bool may_use_amx() {
    constexpr int request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

// While it lives, all of this thread's tiles, the unit's registers, are 16 rows of a line; then they are what they were.
class MatrixUnit {
    struct alignas(64) Config {
        std::uint8_t palette = 0, start = 0, reserved[14] = {};
        std::uint16_t bytes[16] = {};
        std::uint8_t rows[16] = {};
    } before;

public:
    MatrixUnit() {
        Config whole;
        whole.palette = 1;
        for (int i = 0; i < 8; i++) whole.bytes[i] = LINE, whole.rows[i] = TILE;
        _tile_storeconfig(&before);
        _tile_loadconfig(&whole);
    }
    ~MatrixUnit() {
        if (before.palette)
            _tile_loadconfig(&before);
        else
            _tile_release();
    }
    MatrixUnit(const MatrixUnit&) = delete;
    MatrixUnit& operator=(const MatrixUnit&) = delete;
};

template <>
struct Product<Shifted> {
    using Left = Half;
    using Sum = Half;
    static constexpr bool amx = true;
    using Unit = MatrixUnit;
};

INLINE void written() { __asm__ volatile("" ::: "memory"); }  // before tiles load it

// m[p][r] = Σ_c a[r][c] · b[c][p] for all tiles' rows, up to 15 more, and P groups of L outputs; channels: whole vectors of them.
// Meanwhile the weights from `ahead` on are called into the cache.
template <int P>
void panel(Index tiles, const Shifted* a, Index lane, const Shifted* b, Index channels, Half* m, Index, const Shifted* ahead) {
    constexpr int row = WIDE<Shifted>, side = TILE * row;
    constexpr Index wide = P * LINE, step = P * side;  // of b: bytes between rows, numbers of 32 channels
    const Index blocks = up(tiles, 2 * TILE), lines = up(P * TILE, std::max<Index>(blocks, 1)) * (LINE / sizeof(Shifted));
    alignas(64) float sums[4][TILE][L];
    written();
    for (; tiles > 0; tiles -= 2 * TILE, a += 2 * side, m += 2 * side) {
        const Shifted *left = a, *right = b;
        const bool two = tiles > TILE;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (Index c = 0; c < channels; c += row, left += lane, right += step) {
            _tile_loadd(4, left, LINE);
            _tile_loadd(6, right, wide);
            _tile_dpbf16ps(0, 4, 6);
            if (P == 2) {
                _tile_loadd(7, right + row, wide);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (two) {
                _tile_loadd(5, left + side, LINE);
                _tile_dpbf16ps(2, 5, 6);
                if (P == 2) {
                    _tile_dpbf16ps(3, 5, 7);
                }
            }
            for (Index i = 0; i < lines; i += LINE / sizeof(Shifted), ahead += LINE / sizeof(Shifted)) __builtin_prefetch(ahead, 0, 2);
        }
        _tile_stored(0, sums[0], LINE);
        _tile_stored(1, sums[1], LINE);
        _tile_stored(2, sums[2], LINE);
        _tile_stored(3, sums[3], LINE);
        for (int half = 0; half <= two; half++)
            for (int r = 0; r < TILE; r++) {
                const Few first = few(load(sums[2 * half][r]));
                Half* to = m + half * side + r * row;
                if constexpr (P == 2)
                    store(to, both(first, few(load(sums[2 * half + 1][r]))));
                else
                    *reinterpret_cast<LooseFew*>(to) = first;
            }
    }
}

// 16 × 16 pairs of halves, of 32 tiles and 16 channels, as bfloat16 and turned: a row a channel; of `pairs` rows, the others 0.
INLINE void turn(Half* p, Index pairs) {
    __m512i rows[TILE], other[TILE];
    for (int r = 0; r < TILE; r++) {
        const Halves v = r < pairs ? load(p + r * 2 * L) : Halves{};
        rows[r] = (__m512i)_mm512_cvtne2ps_pbh((__m512)(floats(second(v)) * FAR), (__m512)(floats(first(v)) * FAR));
    }
    for (int r = 0; r < TILE; r += 2) {
        other[r] = _mm512_unpacklo_epi32(rows[r], rows[r + 1]);
        other[r + 1] = _mm512_unpackhi_epi32(rows[r], rows[r + 1]);
    }
    for (int r = 0; r < TILE; r += 4)
        for (int i = 0; i < 2; i++) {
            rows[r + 2 * i] = _mm512_unpacklo_epi64(other[r + i], other[r + 2 + i]);
            rows[r + 2 * i + 1] = _mm512_unpackhi_epi64(other[r + i], other[r + 2 + i]);
        }
    for (int r = 0; r < TILE; r += 8)
        for (int i = 0; i < 4; i++) {
            other[r + i] = _mm512_shuffle_i32x4(rows[r + i], rows[r + 4 + i], 0x88);
            other[r + 4 + i] = _mm512_shuffle_i32x4(rows[r + i], rows[r + 4 + i], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        store(p + i * 2 * L, (Halves)_mm512_shuffle_i32x4(other[i], other[8 + i], 0x88));
        store(p + (8 + i) * 2 * L, (Halves)_mm512_shuffle_i32x4(other[i], other[8 + i], 0xdd));
    }
}

// Adds to (or, first, sets) the weights' gradient of one frequency: d[g][c] += Σ_t v[c][t] · z[g][t], in groups of L channels
// and L outputs. What lies behind the last tile is overwritten, up to a multiple of 32 tiles.
inline void grad_amx(Half* v, Index channels, Shifted* z, Index outs, Index lane, Index tiles, float* d, Index d_lane, bool first) {
    constexpr Index step = 2 * TILE * L;  // numbers of 32 tiles
    const Index steps = up(tiles, 2 * TILE), groups = up(channels, 2 * L) * 2;
    for (Index c = 0; c < groups; c++)
        for (Index i = 0; i < steps; i++) turn(v + c * lane + i * step, up(tiles - i * 2 * TILE, 2));
    for (Index g = 0; g < outs; g++) std::fill(z + g * lane + up(tiles, 2) * 2 * L, z + g * lane + steps * step, Shifted{0});
    written();
    for (Index g = 0; g < outs; g += 2)
        for (Index c = 0; c < groups; c += 2) {
            float* to = d + g * d_lane + c * L * L;
            if (first) {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            } else {
                _tile_loadd(0, to, LINE);
                _tile_loadd(1, to + d_lane, LINE);
                _tile_loadd(2, to + L * L, LINE);
                _tile_loadd(3, to + d_lane + L * L, LINE);
            }
            for (Index i = 0; i < steps * step; i += step) {
                _tile_loadd(4, v + c * lane + i, LINE);
                _tile_loadd(5, v + (c + 1) * lane + i, LINE);
                _tile_loadd(6, z + g * lane + i, LINE);
                _tile_loadd(7, z + (g + 1) * lane + i, LINE);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, to, LINE);
            _tile_stored(1, to + d_lane, LINE);
            _tile_stored(2, to + L * L, LINE);
            _tile_stored(3, to + d_lane + L * L, LINE);
        }
}

using Narrow = Shifted;  // the numbers of half precision

#elif defined(STEEPEST_HALF)
using Narrow = Half;
#endif

}  // namespace
