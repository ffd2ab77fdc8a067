// Gram matrices and mixtures of the rows of a tile, in blocks of as many sums as fit into registers.

#pragma once

#include "memory.h"
#include "vectors.h"

constexpr int64_t STEP = 96;  // voxels; a divisor of a tile and a multiple of every block
constexpr int64_t FEW_STEPS = 3;

// Before a loop over a block of sums: unrolled early, it keeps the compiler from making the block in memory.
#define IN_REGISTERS _Pragma("GCC unroll 24")

// --- Gram matrices, in two ways. `dots`: each vector has the sums of one product over some of the voxels, to be added
// up at the end of a tile. `panel_rows`: columns are packed voxel by voxel first, so that each lane has another product;
// that pays for many rows.

template <class A>
constexpr int PANEL = PANEL_VECTORS * Vector<A>::LANES;
constexpr int ROWS_WORTH_PACKING = 48;

template <class A, int M, int N>
void dot_block(const A* a, const A* b, int64_t tile, int64_t voxels, double* out, int64_t stride) {
  using V = typename Vector<A>::type;
  constexpr int LANES = Vector<A>::LANES, PADDED = ceil(M * N, LANES) * LANES;
  V sums[PADDED];
  IN_REGISTERS for (V& sum : sums) sum = V{};
  for (int64_t l = 0; l < voxels; l += LANES) {
    V y[N];
    for (int j = 0; j < N; ++j) y[j] = Vector<A>::kept(b + j * tile + l);
    for (int i = 0; i < M; ++i) {
      const V x = Vector<A>::kept(a + i * tile + l);
      for (int j = 0; j < N; ++j) sums[i * N + j] += x * y[j];
    }
  }
  A scalars[PADDED];
  IN_REGISTERS for (int k = 0; k < M * N; k += LANES) Vector<A>::store(scalars + k, sums_of<A>(sums + k));
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) out[i * stride + j] += double(scalars[i * N + j]);
}

template <class A, int M, int N = DOT_COLUMNS>
void dot_columns(int n, const A* a, const A* b, int64_t tile, int64_t voxels, double* out, int64_t stride) {
  if (n >= N)
    dot_block<A, M, N>(a, b, tile, voxels, out, stride);
  else if constexpr (N > 1)
    dot_columns<A, M, N - 1>(n, a, b, tile, voxels, out, stride);
}

template <class A, int M = GRAM_ROWS>
void dots(int rows, const A* a, const A* b, int columns, int64_t tile, int64_t voxels, double* out, int64_t stride,
          Prefetcher& prefetch) {
  for (; rows >= M; rows -= M, a += M * tile, out += M * stride)
    for (int j = 0; j < columns; j += DOT_COLUMNS) {
      prefetch();
      dot_columns<A, M>(columns - j, a, b + j * tile, tile, voxels, out + j, stride);
    }
  if constexpr (M > 1) dots<A, M - 1>(rows, a, b, columns, tile, voxels, out, stride, prefetch);
}

template <class A>
void pack(const A* b, int64_t tile, int64_t voxels, A* panel) {
  constexpr int LANES = Vector<A>::LANES;
  for (int j = 0; j < PANEL<A>; j += LANES)
    for (int64_t l = 0; l < voxels; l += LANES) {
      typename Vector<A>::type v[LANES];
      for (int i = 0; i < LANES; ++i) v[i] = Vector<A>::load(b + (j + i) * tile + l);
      transpose<typename Vector<A>::type, LANES>(v);
      for (int i = 0; i < LANES; ++i) Vector<A>::store(panel + (l + i) * PANEL<A> + j, v[i]);
    }
}

template <class A, int M>
void panel_block(const A* a, const A* panel, int64_t tile, int64_t voxels, double* out, int64_t stride,
                 Prefetcher& prefetch) {
  using V = typename Vector<A>::type;
  constexpr int N = PANEL_VECTORS, LANES = Vector<A>::LANES;
  // A lane adds up one voxel after the other: the fewer, the more digits are left.
  for (int64_t first = 0; first < voxels; first += STEP) {
    prefetch();
    V sums[M][N];
    IN_REGISTERS for (int i = 0; i < M; ++i)
      IN_REGISTERS for (int j = 0; j < N; ++j) sums[i][j] = V{};
    for (int64_t l = first; l < first + STEP; ++l) {
      V y[N];
      for (int j = 0; j < N; ++j) y[j] = Vector<A>::load(panel + l * PANEL<A> + j * LANES);
      for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) sums[i][j] += a[i * tile + l] * y[j];
    }
    IN_REGISTERS for (int i = 0; i < M; ++i) {
      A scalars[PANEL<A>];
      IN_REGISTERS for (int j = 0; j < N; ++j) Vector<A>::store(scalars + j * LANES, sums[i][j]);
      for (int j = 0; j < PANEL<A>; ++j) out[i * stride + j] += double(scalars[j]);
    }
  }
}

template <class A, int M = GRAM_ROWS>
void panel_rows(int rows, const A* a, const A* panel, int64_t tile, int64_t voxels, double* out, int64_t stride,
                Prefetcher& prefetch) {
  for (; rows >= M; rows -= M, a += M * tile, out += M * stride)
    panel_block<A, M>(a, panel, tile, voxels, out, stride, prefetch);
  if constexpr (M > 1) panel_rows<A, M - 1>(rows, a, panel, tile, voxels, out, stride, prefetch);
}

// out[i * columns + j] += sum over voxels of a[i * tile + l] * b[j * tile + l]; `panel` is room for packed columns.
template <class A>
void gram(const A* a, int rows, const A* b, int columns, int64_t tile, int64_t voxels, double* out, A* panel,
          Prefetcher& prefetch) {
  int j = 0;
  if (rows >= ROWS_WORTH_PACKING)
    for (; j + PANEL<A> <= columns; j += PANEL<A>) {
      pack(b + j * tile, tile, voxels, panel);
      panel_rows(rows, a, panel, tile, voxels, out + j, columns, prefetch);
    }
  dots(rows, a, b + j * tile, columns - j, tile, voxels, out + j, columns, prefetch);
}

// The calls of `prefetch` by `gram`, about.
template <class A>
int64_t gram_blocks(int rows, int columns, int64_t tile) {
  const int packed = rows >= ROWS_WORTH_PACKING ? columns / PANEL<A> : 0;
  return ceil(rows, GRAM_ROWS) * (packed * (tile / STEP) + ceil(columns - packed * PANEL<A>, DOT_COLUMNS));
}

// --- Mixtures.

// Vectors of voxels that a block of M rows takes at a time: as many as fit into registers and divide a tile.
template <class A, int M>
constexpr int width() {
  int n = ROWS * COLUMNS / M;
  while (STEP % (n * Vector<A>::LANES)) --n;
  return n;
}

// matrix[k * M + i] for a block of M rows.
template <class A, int M, bool ADD>
void mix_block(const A* matrix, const A* x, int columns, const A* add, int64_t tile, A* out) {
  using V = typename Vector<A>::type;
  constexpr int N = width<A, M>(), LANES = Vector<A>::LANES;
  V sums[M][N];
  IN_REGISTERS for (int i = 0; i < M; ++i)
    IN_REGISTERS for (int j = 0; j < N; ++j) sums[i][j] = ADD ? Vector<A>::load(add + i * tile + j * LANES) : V{};
  for (int k = 0; k < columns; ++k)
    if constexpr (M == 1) {
      for (int j = 0; j < N; ++j) sums[0][j] += matrix[k] * Vector<A>::load(x + k * tile + j * LANES);
    } else {
      V y[N];
      for (int j = 0; j < N; ++j) y[j] = Vector<A>::kept(x + k * tile + j * LANES);
      for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) sums[i][j] += matrix[k * M + i] * y[j];
    }
  IN_REGISTERS for (int i = 0; i < M; ++i)
    IN_REGISTERS for (int j = 0; j < N; ++j) Vector<A>::store(out + i * STEP + j * LANES, sums[i][j]);
}

// `rows` rows in blocks of M, the rest in smaller ones; STEP voxels, which stay in the first-level cache.
template <class A, int M = ROWS, class Done>
void mix(int rows, const A* matrix, const A* x, int columns, const A* add, int64_t tile, A* out, Prefetcher& prefetch,
         const Done& done, int first = 0) {
  constexpr int WIDTH = width<A, M>() * Vector<A>::LANES;
  for (; first + M <= rows; first += M) {
    for (int64_t l = 0; l < STEP; l += WIDTH) {
      prefetch();
      const A *const rows_of_matrix = matrix + first * columns, *const from = x + l;
      A* const to = out + first * STEP + l;
      if (add) mix_block<A, M, true>(rows_of_matrix, from, columns, add + first * tile + l, tile, to);
      else mix_block<A, M, false>(rows_of_matrix, from, columns, nullptr, tile, to);
    }
    done(first, M);
  }
  if constexpr (M > 1) mix<A, M - 1>(rows, matrix, x, columns, add, tile, out, prefetch, done, first);
}
