//! Guides whose code needs more than the facade's tests have: here are servers, and their drivers.

/// Runs the code blocks; exists in no build.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../docs/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../docs/testing.md")]
    struct Testing;
}
