// What the compiled kernels share: vectors and threads.
//
// Vectors are the compiler's own (GCC, Clang), so that AVX-512, AVX2, SSE and NEON come from one source.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace steepest {

using OpenMP = void (*)(void (*)(void*), void*, unsigned, unsigned);

// GOMP_parallel of the OpenMP runtime that PyTorch uses, whose threads do the work; null: threads of our own.
inline __attribute__((visibility("hidden"))) std::atomic<OpenMP> openmp{nullptr};

}  // namespace steepest

namespace {

using Index = std::int64_t;

// The lanes of a vector.
#if defined(__AVX512F__)
constexpr int L = 16;
#elif defined(__AVX__)
constexpr int L = 8;
#else
constexpr int L = 4;
#endif

typedef float Vec __attribute__((vector_size(L * sizeof(float))));
typedef float Loose __attribute__((vector_size(L * sizeof(float)), aligned(4), may_alias));

constexpr Index up(Index value, Index step) { return (value + step - 1) / step; }  // in steps, rounded up

#define INLINE inline __attribute__((always_inline))
#define IN_PLACE __attribute__((always_inline))  // of a lambda

INLINE Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<Loose*>(p) = v; }

INLINE void store_first(float* p, const Vec& v, Index count) {
    float lanes[L];
    std::memcpy(lanes, &v, sizeof v);
    const float* from = lanes;
    for (int step = L / 2; step; step /= 2)
        if (count & step) {
            std::memcpy(p, from, step * sizeof(float));
            p += step;
            from += step;
        }
}

INLINE Vec load_first(const float* p, Index count) {
    float lanes[L] = {};
    std::memcpy(lanes, p, count * sizeof(float));
    return load(lanes);
}

// The same, for a place where it is seldom needed.
template <class T>
__attribute__((noinline)) Vec load_few(const T* p, Index count) {
    return load_first(p, count);
}

// ---- Writing past the caches what is too large to stay there: a line that is written whole need not be read first.

constexpr Index LINE = 64;  // bytes that a cache moves at once

// Whether `count` numbers from p on, in rows of `row`, are written so: each row is whole lines, and they are many.
template <class T>
INLINE bool streams(const T* p, Index count, Index row) {
    constexpr Index many = Index(4) << 20, size = sizeof(T);
    return L * sizeof(float) == LINE && reinterpret_cast<std::uintptr_t>(p) % LINE == 0 && row * size % LINE == 0 && count * size > many;
}

INLINE void stream(float* p, Vec v) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)v);
#else
    store(p, v);
#endif
}

// What has been streamed is there for other threads.
INLINE void streamed() {
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

// ---- Loops whose index is a constant in the body.

template <int... I, class F>
INLINE void each(std::integer_sequence<int, I...>, F&& body) {
    (body(std::integral_constant<int, I>{}), ...);
}

template <int N, class F>
INLINE void each(F&& body) {
    each(std::make_integer_sequence<int, N>{}, body);
}

// ---- Threads.

// Calls body(worker) once on each of up to `threads` threads; worker is from 0.
template <class F>
void parallel(int threads, F&& body) {
    if (threads <= 1) {
        body(0);
        return streamed();
    }
    struct Team {
        F& body;
        std::atomic<int> worker{0};
    } team{body};
    auto run = [](void* given) {
        Team& team = *static_cast<Team*>(given);
        team.body(team.worker++);
        streamed();
    };
    if (steepest::OpenMP start = steepest::openmp.load()) return start(run, &team, static_cast<unsigned>(threads), 0);
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) {
        try {
            others.emplace_back(run, &team);
        } catch (...) {  // no more threads to be had: those there are do the work
            break;
        }
    }
    run(&team);
    for (auto& other : others) other.join();
}

// Divides `count` jobs between the threads as they come: body(worker, job, the worker's next job or `count` and more).
template <class F>
void divide_ahead(int threads, Index count, F&& body) {
    std::atomic<Index> next{0};
    parallel(static_cast<int>(std::min<Index>(threads, count)), [&](int worker) {
        for (Index job = next++, after; job < count; job = after) body(worker, job, after = next++);
    });
}

// Divides `count` jobs between the threads as they come: body(worker, job).
template <class F>
void divide(int threads, Index count, F&& body) {
    std::atomic<Index> next{0};
    parallel(static_cast<int>(std::min<Index>(threads, count)), [&](int worker) {
        for (Index job; (job = next++) < count;) body(worker, job);
    });
}

}  // namespace
