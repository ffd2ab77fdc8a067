// Passes over odd numbers of channels and voxels, in memory of exactly their size, by one and by five threads; to be
// built with sanitizers by tests/kernels/test_cpp.py, which defines SOURCE.
#include SOURCE

int main() {
  for (int channels : {1, 3, 8, 17, 51})
    for (int64_t voxels : {1, 7, 96, 1031, 9001})
      for (int last : {0, 1})
        for (int threads : {1, 5}) {
          const int64_t n = channels * voxels, row = last ? 1 : voxels, voxel = last ? channels : 1;
          std::vector<float> u(2 * n, 4.f), center(2 * channels, 3.f), out(2 * n), matrix(2 * channels * (channels + 1), 1.f);
          std::vector<bfloat> e(2 * n, bfloat(2.f)), half(2 * n);
          std::vector<double> sums(2 * (channels + 1) * channels);
          const Place in[] = {{u.data(), center.data(), n, row, voxel, channels, FLOAT},
                              {nullptr, nullptr, 0, 0, 0, 1, ONES},
                              {e.data(), nullptr, n, row, voxel, channels, BFLOAT}};
          const Gram gram[] = {{0, channels + 1, channels + 1, channels, sums.data()}};
          const Place to = {out.data(), nullptr, n, row, voxel, channels, FLOAT};
          const Place to_half = {half.data(), nullptr, n, row, voxel, channels, BFLOAT};
          const Mixture mixtures[] = {{matrix.data(), 0, channels + 1, -1, to},
                                      {matrix.data(), channels, channels + 1, 0, to_half}};
          if (run_pass(in, 3, gram, 1, mixtures, 2, 2, voxels, 0, threads, nullptr)) return 1;
          if (out.back() != channels + 1) return 2;
          for (const double sum : sums)
            if (sum != 2.0 * voxels) return 4;
          if (float(half.back()) != float(bfloat(2.f * channels + 2))) return 3;
        }
}
