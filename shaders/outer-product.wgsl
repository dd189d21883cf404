// Shared by the kernels for CPUs with subgroups of 8 lanes: products of 16 rows x 32 columns. A lane holds rows `lane` and
// 8 + `lane` of what is per row, as a vec2, and of the sums its columns `lane`, 8 + `lane`, 16 + `lane` and 24 + `lane` in each row.

enable subgroups;

const LANES = 8u;

/** sums += the outer product of a column of rows and a row of columns. */
fn addOuter(sums: ptr<function, array<vec4f, 16>>, rows: vec2f, columns: vec4f) {
  (*sums)[0] = fma(vec4f(subgroupBroadcast(rows.x, 0u)), columns, (*sums)[0]);
  (*sums)[1] = fma(vec4f(subgroupBroadcast(rows.x, 1u)), columns, (*sums)[1]);
  (*sums)[2] = fma(vec4f(subgroupBroadcast(rows.x, 2u)), columns, (*sums)[2]);
  (*sums)[3] = fma(vec4f(subgroupBroadcast(rows.x, 3u)), columns, (*sums)[3]);
  (*sums)[4] = fma(vec4f(subgroupBroadcast(rows.x, 4u)), columns, (*sums)[4]);
  (*sums)[5] = fma(vec4f(subgroupBroadcast(rows.x, 5u)), columns, (*sums)[5]);
  (*sums)[6] = fma(vec4f(subgroupBroadcast(rows.x, 6u)), columns, (*sums)[6]);
  (*sums)[7] = fma(vec4f(subgroupBroadcast(rows.x, 7u)), columns, (*sums)[7]);
  (*sums)[8] = fma(vec4f(subgroupBroadcast(rows.y, 0u)), columns, (*sums)[8]);
  (*sums)[9] = fma(vec4f(subgroupBroadcast(rows.y, 1u)), columns, (*sums)[9]);
  (*sums)[10] = fma(vec4f(subgroupBroadcast(rows.y, 2u)), columns, (*sums)[10]);
  (*sums)[11] = fma(vec4f(subgroupBroadcast(rows.y, 3u)), columns, (*sums)[11]);
  (*sums)[12] = fma(vec4f(subgroupBroadcast(rows.y, 4u)), columns, (*sums)[12]);
  (*sums)[13] = fma(vec4f(subgroupBroadcast(rows.y, 5u)), columns, (*sums)[13]);
  (*sums)[14] = fma(vec4f(subgroupBroadcast(rows.y, 6u)), columns, (*sums)[14]);
  (*sums)[15] = fma(vec4f(subgroupBroadcast(rows.y, 7u)), columns, (*sums)[15]);
}

/** From every row of sums its own number. */
fn subtractRows(sums: ptr<function, array<vec4f, 16>>, numbers: vec2f) {
  (*sums)[0] -= subgroupBroadcast(numbers.x, 0u);
  (*sums)[1] -= subgroupBroadcast(numbers.x, 1u);
  (*sums)[2] -= subgroupBroadcast(numbers.x, 2u);
  (*sums)[3] -= subgroupBroadcast(numbers.x, 3u);
  (*sums)[4] -= subgroupBroadcast(numbers.x, 4u);
  (*sums)[5] -= subgroupBroadcast(numbers.x, 5u);
  (*sums)[6] -= subgroupBroadcast(numbers.x, 6u);
  (*sums)[7] -= subgroupBroadcast(numbers.x, 7u);
  (*sums)[8] -= subgroupBroadcast(numbers.y, 0u);
  (*sums)[9] -= subgroupBroadcast(numbers.y, 1u);
  (*sums)[10] -= subgroupBroadcast(numbers.y, 2u);
  (*sums)[11] -= subgroupBroadcast(numbers.y, 3u);
  (*sums)[12] -= subgroupBroadcast(numbers.y, 4u);
  (*sums)[13] -= subgroupBroadcast(numbers.y, 5u);
  (*sums)[14] -= subgroupBroadcast(numbers.y, 6u);
  (*sums)[15] -= subgroupBroadcast(numbers.y, 7u);
}

/** The columns of a lane, from the first of the 32 on. */
fn columnsOf(first: u32, lane: u32) -> vec4u { return first + lane + vec4u(0u, LANES, 2u * LANES, 3u * LANES); }
