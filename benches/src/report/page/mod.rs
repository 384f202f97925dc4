//! The report as one HTML page that needs nothing else: a summary, plots drawn as SVG, and every
//! row.

mod histogram;
mod html;
mod looks;
mod plots;
mod rows;
mod scale;
mod summary;
mod svg;

pub use html::html;
