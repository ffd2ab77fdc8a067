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
          if (run_pass(in, 3, gram, 1, mixtures, 2, nullptr, 2, voxels, 0, threads, nullptr)) return 1;
          if (out.back() != channels + 1) return 2;
          for (const double sum : sums)
            if (sum != 2.0 * voxels) return 4;
          if (float(half.back()) != float(bfloat(2.f * channels + 2))) return 3;

          // A gate that lets half of x pass, then its gradients: half of dO, and a quarter of dO x.
          const int all = 2 * channels + 1;
          std::vector<float> x(2 * n, 2.f), dout(2 * n, 8.f), zeros(2 * channels * all, 0.f);
          std::vector<double> of_logits(2 * channels * channels);
          const Place map_of_u = {u.data(), nullptr, n, row, voxel, channels, FLOAT};
          const Place map_of_x = {x.data(), nullptr, n, row, voxel, channels, FLOAT};
          const Place forward[] = {map_of_u, in[1], in[2], map_of_x};
          const Gate gate = {{zeros.data(), 0, all, 0, to}, all, -1, -1};
          if (run_pass(forward, 4, nullptr, 0, nullptr, 0, &gate, 2, voxels, 0, threads, nullptr)) return 1;
          for (const float value : out)
            if (value != 5) return 5;
          const Place map_of_dout = {dout.data(), nullptr, n, row, voxel, channels, FLOAT};
          const Place made = {nullptr, nullptr, 0, 0, 0, channels, MADE};
          const Place backward[] = {map_of_dout, made, map_of_u, in[1], in[2], map_of_x};
          const int first = 2 * channels;
          const Gate gradients = {{zeros.data(), first, all, -1, to}, first + all, 0, channels};
          const Gram of_gate[] = {{channels, channels, first, channels, of_logits.data()}};
          const Mixture of_u[] = {{matrix.data(), channels, channels, 0, to_half}};
          if (run_pass(backward, 6, of_gate, 1, of_u, 1, &gradients, 2, voxels, 0, threads, nullptr)) return 1;
          for (const float value : out)
            if (value != 4) return 6;
          for (const double sum : of_logits)
            if (sum != 16.0 * voxels) return 7;
          if (float(half.back()) != float(bfloat(4.f * channels + 8))) return 8;
        }
}
