// A gate on rows of a tile, and its gradients: with G the sigmoid of the logits,
//
//     forward:   O = G x (+ add),
//     backward:  dx = G dO,   dlogits = dO x G (1 - G).

#pragma once

#include <cmath>
#include <limits>

#include "products.h"
#include "vectors.h"

// e^x of each lane, within two units in the last place; 0 or infinity beyond what a float holds. NaN stays NaN.
inline Vector<float>::type exponential(Vector<float>::type given) {
  using V = Vector<float>::type;
  typedef int32_t Bits __attribute__((vector_size(BYTES)));
  constexpr float LARGEST = 88.0f, PER_LOG2 = 1.44269504f;
  constexpr float LOG2_HIGH = 0.693359375f, LOG2_LOW = -2.12194440e-4f;  // the first has few digits: products are exact
  constexpr float TO_INTEGER = 12582912.0f;  // 1.5 * 2^23, whose unit in the last place is 1
  const V zero{}, largest = zero + LARGEST, to_integer = zero + TO_INTEGER;
  V x = given > largest ? largest : given;
  x = x < -largest ? -largest : x;
  const V shifted = x * PER_LOG2 + to_integer, n = shifted - to_integer;
  const V r = (x - n * LOG2_HIGH) - n * LOG2_LOW;  // at most log(2) / 2
  // The series of e^r, whose next term is 5e-9.
  V y = zero + 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  const Bits exponent = (Bits)shifted - (Bits)to_integer + 127;
  return given > largest ? zero + std::numeric_limits<float>::infinity() : y * (V)(exponent << 23);
}

inline Vector<double>::type exponential(Vector<double>::type x) {
  for (int i = 0; i < Vector<double>::LANES; ++i) x[i] = std::exp(x[i]);
  return x;
}

template <class A>
typename Vector<A>::type sigmoid(typename Vector<A>::type x) {
  return A(1) / (A(1) + exponential(-x));
}

// On `count` rows of STEP voxels. Rows of `out`, which holds the logits on entry, are STEP apart, all others `tile` apart.
template <class A>
void gated(A* out, const A* x, const A* add, int count, int64_t tile) {
  for (int r = 0; r < count; ++r, out += STEP, x += tile, add += add ? tile : 0)
    for (int64_t l = 0; l < STEP; l += Vector<A>::LANES) {
      const auto passed = sigmoid<A>(Vector<A>::load(out + l)) * Vector<A>::load(x + l);
      Vector<A>::store(out + l, add ? passed + Vector<A>::load(add + l) : passed);
    }
}

template <class A>
void gated_backward(A* out, const A* x, const A* dout, A* dlogits, int count, int64_t tile) {
  for (int r = 0; r < count; ++r, out += STEP, x += tile, dout += tile, dlogits += tile)
    for (int64_t l = 0; l < STEP; l += Vector<A>::LANES) {
      const auto g = sigmoid<A>(Vector<A>::load(out + l)), dx = g * Vector<A>::load(dout + l);
      Vector<A>::store(out + l, dx);
      Vector<A>::store(dlogits + l, dx * (A(1) - g) * Vector<A>::load(x + l));
    }
}
