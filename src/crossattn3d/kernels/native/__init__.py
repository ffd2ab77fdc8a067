"""The four passes over the maps in C++, for CPUs: `tiles.cpp`, built with the machine's own compiler on first use."""
