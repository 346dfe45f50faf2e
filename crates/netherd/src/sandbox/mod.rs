//! The namespaces of `run`, `exec` and `attach`.
