// The convolution as a library's functions, its products of float32.

#include "conv3x3.h"

extern "C" {

// The function GOMP_parallel of the OpenMP runtime whose threads to use; null for threads of our own.
void steepest_threads(void* function) {
    steepest::openmp = reinterpret_cast<steepest::OpenMP>(function);
}

// y (N, H + 2 pad - 2, W + 2 pad - 2, K) of x (N, H, W, C), both dense. w: (K, C, 3, 3) at the strides (in floats) given,
// dense in some order. pool: y is the largest of each 2×2 pixels of those, (N, .. / 2, .. / 2, K), and which, unless null, as
// many bytes that say which of the four it is. pad: 0 or 1. tile: 3 or 4 for tiles of that size alone, 6 for 6s and 4s, 0 for
// the cheapest. Gives 0, or 1 for want of memory, as all of these do.
int steepest_conv(const float* x, const float* w, const float* bias, float* y, std::uint8_t* which, Index n, Index h,
                  Index wide, Index c, Index k, const Index* strides, int pad, int pool, int tile, int threads) {
    return conv<float>(x, w, bias, y, which, n, h, wide, c, k, strides, pad, pool, tile, threads);
}

// dx (N, H, W, C) of dy, which is y's gradient, or, where `which` is not null, that of the pool behind it.
int steepest_input_gradient(const float* dy, const std::uint8_t* which, const float* w, float* dx, Index n, Index h,
                            Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_input_gradient<float>(dy, which, w, dx, n, h, wide, c, k, strides, pad, tile, threads);
}

// dw (K, C, 3, 3) at the strides given, of x (N, H, W, C) and dy as above.
int steepest_weight_gradient(const float* x, const float* dy, const std::uint8_t* which, float* dw, Index n, Index h,
                             Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_weight_gradient<float>(x, dy, which, dw, n, h, wide, c, k, strides, pad, tile, threads);
}
}
