//! Control groups v1 and v2: make, limit, freeze, kill, measure, watch for OOM.

mod limits;

pub use limits::{BlockIo, Cpu, DeviceRate, Limits, Memory};
