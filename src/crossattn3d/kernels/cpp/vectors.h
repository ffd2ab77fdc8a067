// Vector registers of any width, the types of maps, and what is in between.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

// Bytes of a vector register, and the blocks of sums that are kept in registers: rows and columns of a Gram matrix;
// rows and vectors of voxels of a mixture.
#if defined(__AVX512F__)
constexpr int BYTES = 64, GRAM_ROWS = 8, DOT_COLUMNS = 3, PANEL_VECTORS = 3, ROWS = 4, COLUMNS = 6;
#elif defined(__AVX__)
constexpr int BYTES = 32, GRAM_ROWS = 6, DOT_COLUMNS = 2, PANEL_VECTORS = 2, ROWS = 4, COLUMNS = 3;
#elif defined(__aarch64__)
constexpr int BYTES = 16, GRAM_ROWS = 8, DOT_COLUMNS = 3, PANEL_VECTORS = 3, ROWS = 4, COLUMNS = 6;
#else
constexpr int BYTES = 16, GRAM_ROWS = 6, DOT_COLUMNS = 2, PANEL_VECTORS = 2, ROWS = 4, COLUMNS = 3;
#endif

struct bfloat {
  uint16_t bits;
  operator float() const {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  bfloat() = default;
  explicit bfloat(float value) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    const uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    bits = uint16_t(value != value ? 0x7fc0 : rounded);
  }
};

template <class A>
struct Vector {
  static constexpr int LANES = BYTES / sizeof(A);
  typedef A type __attribute__((vector_size(BYTES)));

  static type load(const A* p) {
    type v;
    std::memcpy(&v, p, BYTES);
    return v;
  }
  static void store(A* p, type v) { std::memcpy(p, &v, BYTES); }
  // In a register from here on: read in every product it takes part in, it would take longer than the products.
  static type kept(const A* p) {
    type v = load(p);
#if defined(__x86_64__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
  }
};

// LANES values in another type, from memory and to it.
template <class A, class T>
typename Vector<A>::type load_as(const T* from) {
  typename Vector<A>::type v;
  if constexpr (std::is_same_v<A, T>) return Vector<A>::load(from);
  for (int i = 0; i < Vector<A>::LANES; ++i) v[i] = A(from[i]);
  return v;
}

template <>
inline Vector<float>::type load_as<float, bfloat>(const bfloat* from) {
  typedef uint16_t Narrow __attribute__((vector_size(BYTES / 2)));
  typedef uint32_t Wide __attribute__((vector_size(BYTES)));
  Narrow bits;
  std::memcpy(&bits, from, sizeof(bits));
  return (Vector<float>::type)(__builtin_convertvector(bits, Wide) << 16);
}

template <class A, class T>
void store_as(T* to, typename Vector<A>::type v) {
  if constexpr (std::is_same_v<A, T>) return Vector<A>::store(to, v);
  for (int i = 0; i < Vector<A>::LANES; ++i) to[i] = T(v[i]);
}

template <>
inline void store_as<float, bfloat>(bfloat* to, Vector<float>::type v) {
  typedef uint16_t Narrow __attribute__((vector_size(BYTES / 2)));
  typedef uint32_t Wide __attribute__((vector_size(BYTES)));
  const Wide wide = (Wide)v, rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  const Wide is_nan = (Wide)(v != v);
  const Narrow bits = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), Narrow);
  std::memcpy(to, &bits, sizeof(bits));
}

// --- Transposition of LANES x LANES values: off-diagonal blocks of S x S change places, for S = LANES / 2, ..., 1.

template <class V, int S, int... I>
void exchange(V& a, V& b, std::integer_sequence<int, I...>) {
  constexpr int N = sizeof...(I);
  const V upper = __builtin_shufflevector(a, b, (I & S ? N + I - S : I)...);
  b = __builtin_shufflevector(a, b, (I & S ? N + I : I + S)...);
  a = upper;
}

template <class V, int N, int S = N / 2>
inline __attribute__((always_inline)) void transpose(V* v) {
  if constexpr (S > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i)
      if (!(i & S)) exchange<V, S>(v[i], v[i + S], std::make_integer_sequence<int, N>());
    transpose<V, N, S / 2>(v);
  }
}

// The sums across LANES vectors, in the order of the vectors: added up on the way through a transposition.
template <class A, int S = Vector<A>::LANES / 2>
inline __attribute__((always_inline)) typename Vector<A>::type sums_of(typename Vector<A>::type* v) {
#pragma GCC unroll 16
  for (int i = 0; i < S; ++i) {
    exchange<typename Vector<A>::type, S>(v[i], v[i + S], std::make_integer_sequence<int, Vector<A>::LANES>());
    v[i] += v[i + S];
  }
  if constexpr (S > 1) return sums_of<A, S / 2>(v);
  return v[0];
}
