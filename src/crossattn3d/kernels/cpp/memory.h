// Between memory and the tile: arrays of any strides, prefetching, and huge pages for new maps.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "vectors.h"

constexpr int64_t LINE = 64;  // bytes of a cache line

// ONES and MADE lie in no memory: a row of ones, and rows that the pass makes itself.
enum Type : int32_t { ONES = 0, FLOAT = 1, DOUBLE = 2, BFLOAT = 3, MADE = 4 };

constexpr int64_t ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int64_t size_of(Type type) { return type == FLOAT ? 4 : type == DOUBLE ? 8 : 2; }

struct Place {  // of an array (batch, rows, voxels); strides in elements
  void* data;
  const void* center;  // (batch, rows), in the type that is computed in, taken off when rows are read; or null
  int64_t batch_stride, row_stride, voxel_stride;
  int32_t rows;
  Type type;
};

// Write with non-temporal stores, past the caches; return the number of values for which that was possible.
template <class T, class A>
int64_t stream([[maybe_unused]] T* to, [[maybe_unused]] const A* from, [[maybe_unused]] int64_t voxels) {
  int64_t l = 0;
#if defined(__AVX__)
  constexpr int LINE_HALF = 32 / sizeof(T), N = std::max<int>(LINE_HALF, Vector<A>::LANES);
  if (reinterpret_cast<uintptr_t>(to) % 32 == 0)
    for (; l + N <= voxels; l += N) {
      alignas(32) T values[N];
      for (int k = 0; k < N; k += Vector<A>::LANES) store_as<A>(values + k, Vector<A>::load(from + l + k));
      for (int k = 0; k < N; k += LINE_HALF)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to + l + k), *reinterpret_cast<const __m256i*>(values + k));
    }
#endif
  return l;
}

// --- Between memory and rows of a tile, rows[r * tile + l].

template <class T, class A>
void read(A* to, int64_t tile, const T* from, const A* center, int rows, int64_t row_stride, int64_t voxel_stride,
          int64_t voxels) {
  constexpr int N = Vector<A>::LANES;
  using V = typename Vector<A>::type;
  if (voxel_stride == 1) {
    for (int r = 0; r < rows; ++r) {
      const T* line = from + r * row_stride;
      int64_t l = 0;
      for (; l + N <= voxels; l += N) Vector<A>::store(to + r * tile + l, load_as<A>(line + l) - center[r]);
      for (; l < voxels; ++l) to[r * tile + l] = A(line[l]) - center[r];
    }
    return;
  }
  int r = 0;
  if (row_stride == 1)
    for (; r + N <= rows; r += N)
      for (int64_t l = 0; l < voxels; l += N) {
        V v[N];
        const int some = int(std::min<int64_t>(N, voxels - l));
        for (int i = 0; i < N; ++i) v[i] = load_as<A>(from + (l + std::min(i, some - 1)) * voxel_stride + r);
        transpose<V, N>(v);
        for (int i = 0; i < N; ++i) Vector<A>::store(to + (r + i) * tile + l, v[i] - center[r + i]);  // tiles are padded
      }
  for (; r < rows; ++r)
    for (int64_t l = 0; l < voxels; ++l) to[r * tile + l] = A(from[l * voxel_stride + r * row_stride]) - center[r];
}

template <class T, class A>
void write(T* to, const A* from, int64_t tile, int rows, int64_t row_stride, int64_t voxel_stride, int64_t voxels) {
  constexpr int N = Vector<A>::LANES;
  using V = typename Vector<A>::type;
  if (voxel_stride == 1) {
    for (int r = 0; r < rows; ++r) {
      T* line = to + r * row_stride;
      int64_t l = stream(line, from + r * tile, voxels);
      for (; l < voxels; ++l) line[l] = T(from[r * tile + l]);
    }
    return;
  }
  int r = 0;
  if (row_stride == 1)
    for (; r + N <= rows; r += N)
      for (int64_t l = 0; l < voxels; l += N) {
        V v[N];
        for (int i = 0; i < N; ++i) v[i] = Vector<A>::load(from + (r + i) * tile + l);
        transpose<V, N>(v);
        const int some = int(std::min<int64_t>(N, voxels - l));
        for (int i = 0; i < some; ++i) store_as<A>(to + (l + i) * voxel_stride + r, v[i]);
      }
  for (; r < rows; ++r)
    for (int64_t l = 0; l < voxels; ++l) to[l * voxel_stride + r * row_stride] = T(from[r * tile + l]);
}

// --- Prefetches the next tile while this one is computed with, a little before every block.

class Prefetcher {
 public:
  void add(const char* from, int64_t runs, int64_t stride, int64_t bytes) {
    parts.push_back({from, runs, stride, bytes});
  }

  void spread(int64_t blocks) {
    int64_t lines = 0;
    for (const Part& part : parts) lines += part.runs * (part.bytes / LINE + 1);
    burst = ceil(lines, std::max<int64_t>(blocks, 1));
  }

  void operator()() {
    for (int64_t k = 0; k < burst && part < parts.size(); ++k) {
      __builtin_prefetch(parts[part].from + run * parts[part].stride + at, 0, 2);
      if ((at += LINE) < parts[part].bytes) continue;
      at = 0;
      if (++run == parts[part].runs) run = 0, ++part;
    }
  }

 private:
  struct Part {
    const char* from;
    int64_t runs, stride, bytes;
  };
  std::vector<Part> parts;
  size_t part = 0;
  int64_t run = 0, at = 0, burst = 0;
};

// --- Memory of a new map in huge pages: getting it from the system in small ones takes longer than anything else.

class HugePageHint {
 public:
  HugePageHint(const Place& map, int64_t batch, int64_t length) {
#if defined(MADV_POPULATE_WRITE)
    const int64_t last = (batch - 1) * map.batch_stride + (map.rows - 1) * map.row_stride +
                         (length - 1) * map.voxel_stride;
    const int64_t begin = reinterpret_cast<int64_t>(map.data), page = sysconf(_SC_PAGESIZE);
    first = ceil(begin, page) * page, end = (begin + (last + 1) * size_of(map.type)) / page * page;
    unsigned char is_there = 1;
    if (end - first < LARGE || mincore(at(first + (end - first) / 2 / page * page), 1, &is_there) != 0 || is_there)
      end = first;
    else
      madvise(at(first), end - first, MADV_HUGEPAGE);
#endif
  }

  // Each thread populates its own share: two threads that touch one page at the same time would both clear it.
  void get(int64_t share, int64_t shares) const {
#if defined(MADV_POPULATE_WRITE)
    const int64_t from = start_of(share, shares), until = start_of(share + 1, shares);
    if (from < until) madvise(at(from), until - from, MADV_POPULATE_WRITE);
#endif
  }

 private:
  static constexpr int64_t LARGE = 1 << 21;
  static void* at(int64_t address) { return reinterpret_cast<void*>(address); }
  // Start of a huge page, except at both ends of the map.
  int64_t start_of(int64_t share, int64_t shares) const {
    const int64_t address = first + (end - first) * share / shares;
    return share == shares ? end : std::max(first, address / LARGE * LARGE);
  }
  int64_t first = 0, end = 0;  // addresses at the start of a page
};
