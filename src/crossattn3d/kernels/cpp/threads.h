// Work on several threads.

#pragma once

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

// Runs a function on a number of threads. PyTorch's own threads if it has GOMP_parallel: they stay awake for a while after
// each of its operations, and other threads would have to share the cores with them.
using Team = void (*)(void (*work)(void*), void* argument, unsigned threads, unsigned flags);

template <class Work>
void on_new_threads(int threads, const Work& work) {
  std::vector<std::thread> others;
  try {
    while (int(others.size()) + 1 < threads) others.emplace_back(work);
  } catch (...) {  // no more threads: these have to do
  }
  work();
  for (auto& other : others) other.join();
}

// Calls work(k) for each of so many shares; whichever thread is done with one share takes another.
template <class Work>
void share_out(int shares, int threads, Team team, const Work& work) {
  std::vector<std::exception_ptr> errors(shares);
  std::atomic<int> next{0};
  auto some = [&] {
    for (int k = next++; k < shares; k = next++) try {
        work(k);
      } catch (...) {
        errors[k] = std::current_exception();
      }
  };
  if (team && threads > 1)
    team([](void* it) { (*static_cast<decltype(some)*>(it))(); }, &some, threads, 0);
  else
    on_new_threads(threads, some);
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}
