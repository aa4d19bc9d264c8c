//! Builds WAMR from its pinned C source and binds its C API.
