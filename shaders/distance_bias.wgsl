// out (NH, 2 reach + 1) = table[buckets[distance], head]; table (buckets, NH).
//# uniforms NH distances
//# tensor table : read
//# tensor buckets : read u32
//# tensor out : write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= u.NH * u.distances) { return; }
  store_out(i, load_table(load_buckets(i % u.distances) * u.NH + i / u.distances));
}
