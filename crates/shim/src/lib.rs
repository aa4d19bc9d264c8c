//! The server behind containerd-shim-wamr-v1: ttrpc services, task state, I/O, events.
