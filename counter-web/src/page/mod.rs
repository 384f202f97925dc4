//! The page that shows a counter: its HTML, the files it loads, the places on its map, and the
//! badge for other sites.
//!
//! The first HTML is complete and works without JavaScript. All of its addresses are relative, so
//! it works below any path of a proxy.

pub(crate) mod assets;
pub(crate) mod badge;
pub(crate) mod counter_page;
pub(crate) mod partition;
mod parts;
mod policy;
pub(crate) mod regions;
mod render;
mod text;

pub(crate) use policy::CONTENT_POLICY;
pub(crate) use render::refusal;
