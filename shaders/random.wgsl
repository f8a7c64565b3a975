// Threefry-2x32-20 (Salmon et al. 2011): the same function as src/random.ts.
fn threefry2x32(key: vec2u, counter: vec2u) -> vec2u {
  let k2 = 0x1bd11bdau ^ key.x ^ key.y;
  var x = counter + key;
//# for g in 0..5
//#   for r in 0..4
//#     let ROT = g % 2 == 0 ? (r == 0 ? 13 : r == 1 ? 15 : r == 2 ? 26 : 6) : (r == 0 ? 17 : r == 1 ? 29 : r == 2 ? 16 : 24)
  x.x += x.y;
  x.y = ((x.y << ${ROT}u) | (x.y >> ${32 - ROT}u)) ^ x.x;
//#   end
//#   if g % 3 == 0
  x += vec2u(key.y, k2 + ${g + 1}u);
//#   end
//#   if g % 3 == 1
  x += vec2u(k2, key.x + ${g + 1}u);
//#   end
//#   if g % 3 == 2
  x += vec2u(key.x, key.y + ${g + 1}u);
//#   end
//# end
  return x;
}

// The key of a sample at a dropout site, in this step.
fn dropout_key(seed: u32, site: u32, sample: u32) -> vec2u {
  return threefry2x32(vec2u(seed, site), vec2u(live.step, sample));
}

// What element `element` of a sample is multiplied by: 0 or 1 / (1 - rate).
fn dropout_factor(key: vec2u, element: u32, threshold: u32, scale: f32) -> f32 {
  let words = threefry2x32(key, vec2u(element >> 1u, 0u));
  return select(0.0, scale, select(words.x, words.y, (element & 1u) == 1u) >= threshold);
}
