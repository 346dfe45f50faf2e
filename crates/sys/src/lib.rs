//! Every Linux system call netherd makes.
