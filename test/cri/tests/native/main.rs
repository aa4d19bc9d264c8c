//! Promise: ordinary Linux containers of a pod are with the handler `wamr` what they are with runc.
//!
//! Real: all but the kubelet. Each case is played with both handlers on one containerd, so what is expected is what runc
//! does, not what somebody remembers of it.

mod bench;
mod environment;
mod exec;
mod lifetime;
mod mounts;
mod namespaces;
mod privileges;
