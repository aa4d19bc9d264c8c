//! Promise: ordinary Linux containers of a pod are with the handler `wamr` what they are with runc.
//!
//! Real: all but the kubelet. Each case is played with runc, with `wamr`, and with `wamr` whose `native_runtime` is runc,
//! on one containerd, so what is expected is what runc does, not what somebody remembers of it.

mod bench;
mod environment;
mod exec;
mod lifetime;
mod mounts;
mod namespaces;
mod pause;
mod privileges;
