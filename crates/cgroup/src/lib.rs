//! Control groups v1 and v2: make, limit, freeze, kill, measure, watch for OOM.
