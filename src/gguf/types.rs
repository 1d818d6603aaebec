//! Tensor element types.

/// Tensor element types that are served, as GGUF numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgmlType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// (GGUF's number, type, name, elements of a block, bytes of a block)
const TYPES: [(u32, GgmlType, &str, usize, usize); 13] = [
    (0, GgmlType::F32, "F32", 1, 4),
    (1, GgmlType::F16, "F16", 1, 2),
    (30, GgmlType::BF16, "BF16", 1, 2),
    (2, GgmlType::Q4_0, "Q4_0", 32, 18),
    (3, GgmlType::Q4_1, "Q4_1", 32, 20),
    (6, GgmlType::Q5_0, "Q5_0", 32, 22),
    (7, GgmlType::Q5_1, "Q5_1", 32, 24),
    (8, GgmlType::Q8_0, "Q8_0", 32, 34),
    (10, GgmlType::Q2K, "Q2_K", 256, 84),
    (11, GgmlType::Q3K, "Q3_K", 256, 110),
    (12, GgmlType::Q4K, "Q4_K", 256, 144),
    (13, GgmlType::Q5K, "Q5_K", 256, 176),
    (14, GgmlType::Q6K, "Q6_K", 256, 210),
];

impl GgmlType {
    /// All types, floats first.
    pub const ALL: [Self; TYPES.len()] = {
        let mut all = [Self::F32; TYPES.len()];
        let mut i = 0;
        while i < TYPES.len() {
            all[i] = TYPES[i].1;
            i += 1;
        }
        all
    };

    /// The type with GGUF's number `id`.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().find(|row| row.0 == id).map(|row| row.1)
    }

    /// Elements of one quantization block (1 for plain floats).
    #[must_use]
    pub fn block_size(self) -> usize {
        self.row().3
    }

    /// Bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// llama.cpp's name: `Q4_K`, `F16` …
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The names of all types, for messages.
    #[must_use]
    pub fn known() -> String {
        TYPES.map(|row| row.2).join(", ")
    }

    fn row(self) -> &'static (u32, Self, &'static str, usize, usize) {
        TYPES.iter().find(|row| row.1 == self).expect("every type has its row")
    }
}
