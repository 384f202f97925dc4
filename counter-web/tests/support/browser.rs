//! A headless Chromium.
