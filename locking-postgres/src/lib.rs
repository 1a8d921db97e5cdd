//! The PostgreSQL provider of `locking`.
