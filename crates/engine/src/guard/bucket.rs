//! The rates of a port.

pub(crate) use crate::rate::Bucket;
