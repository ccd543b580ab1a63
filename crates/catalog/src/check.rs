//! Lints for authors of service files: what a file should say beyond what it must.
