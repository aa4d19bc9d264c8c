//! End-to-end tests on real containerd.
