//! What a bundle says about itself.
