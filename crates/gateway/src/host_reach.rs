//! Is this destination the host itself? Asked of the kernel once per new flow.
