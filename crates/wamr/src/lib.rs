//! Safe API over WAMR: engine, module, instance, WASI context.
