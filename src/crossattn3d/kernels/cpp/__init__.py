"""The primitive in C++, for CPUs, built with the machine's own compiler on first use."""
