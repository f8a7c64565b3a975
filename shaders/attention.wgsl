// What the attention kernels share: shapes, and vectors of HS values as D4 groups of four.
//
// qkv (B*T, (NH + 2 NK) * HS): all query heads of a token, then its key heads, then its value heads. Query head h
// reads key head h / (NH / NK). Causal: a query looks at the keys up to itself.
//
// A program may be cut into windows of samples; `sample0` is the first of this one, `samples` how many it has.
//# let D4 = (HS + 3) / 4
//# uniforms sample0 samples width scale:f32

const NH = ${NH}u;
const NK = ${NK}u;
const HS = ${HS}u;
const MASKED = -1e30;

// The number of samples of this window that are in use.
fn live_samples() -> u32 { return min(u.samples, max(live.batch, u.sample0) - u.sample0); }
