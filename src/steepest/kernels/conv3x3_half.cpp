// The same functions with their products of halves, where the processor has them. C and K are even. They
// give 2 where a product, or a sum, is larger than any half: what was written is then of no use.

#include "conv3x3.h"

#ifdef STEEPEST_HALF
extern "C" {

int steepest_half_conv(const float* x, const float* w, const float* bias, float* y, std::uint8_t* which, Index n, Index h,
                       Index wide, Index c, Index k, const Index* strides, int pad, int pool, int tile, int threads) {
    return conv<Half>(x, w, bias, y, which, n, h, wide, c, k, strides, pad, pool, tile, threads);
}

int steepest_half_input_gradient(const float* dy, const std::uint8_t* which, const float* w, float* dx, Index n, Index h,
                                 Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_input_gradient<Half>(dy, which, w, dx, n, h, wide, c, k, strides, pad, tile, threads);
}

int steepest_half_weight_gradient(const float* x, const float* dy, const std::uint8_t* which, float* dw, Index n, Index h,
                                  Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    return conv_weight_gradient<Half>(x, dy, which, dw, n, h, wide, c, k, strides, pad, tile, threads);
}
}
#endif
