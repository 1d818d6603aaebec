//! Samplers that end a chain: they choose one candidate.

use super::candidates::Candidates;
use super::rng::Mt19937;

/// How the token is drawn. Returns the index of the chosen candidate; probabilities are set.
#[derive(Debug)]
pub enum Draw {
    Plain(Mt19937),
    Mirostat1 { tau: f32, eta: f32, mu: f32, n_vocab: usize, rng: Mt19937 },
    Mirostat2 { tau: f32, eta: f32, mu: f32, rng: Mt19937 },
    Adaptive(Adaptive),
}

impl Draw {
    /// Draws from `c`.
    pub fn draw(&mut self, c: &mut Candidates) -> usize {
        match self {
            Self::Plain(rng) => plain(c, rng),
            Self::Mirostat1 { tau, eta, mu, n_vocab, rng } => {
                c.sorted_softmax();
                let k = mirostat_k(c, *mu, *n_vocab);
                c.keep_best(k);
                surprise_step(c, *tau, *eta, mu, rng)
            }
            Self::Mirostat2 { tau, eta, mu, rng } => {
                c.sorted_softmax();
                let n = c.items.iter().take_while(|item| -item.p.log2() <= *mu).count();
                c.items.truncate(n.max(1));
                surprise_step(c, *tau, *eta, mu, rng)
            }
            Self::Adaptive(adaptive) => adaptive.draw(c),
        }
    }

    /// The token that was drawn last is the next one of the text; one that a grammar refuses is not.
    pub fn accept(&mut self) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.accept();
        }
    }
}

/// Softmax in f64 and one draw, in the candidates' order.
fn plain(c: &mut Candidates, rng: &mut Mt19937) -> usize {
    if c.items.len() == 1 {
        // Every token costs one draw, so that later ones do not hang on how many were left here.
        rng.next_f64();
        c.items[0].p = 1.0;
        return 0;
    }
    let max = c.max_logit();
    let mut sum = 0.0f64;
    for item in &mut c.items {
        item.p = (item.logit - max).exp();
        sum += f64::from(item.p);
    }
    let target = sum * rng.next_f64();
    let mut running = 0.0f64;
    let reached = |p: f32| {
        running += f64::from(p);
        running >= target
    };
    let index = c.items.iter().map(|item| item.p).position(reached).unwrap_or(c.items.len() - 1);
    c.items.iter_mut().for_each(|item| item.p = (f64::from(item.p) / sum) as f32);
    index
}

/// How many candidates keep the surprise near mu (Basu et al. 2020, with its 100 top tokens).
fn mirostat_k(c: &Candidates, mu: f32, n_vocab: usize) -> usize {
    let (mut sum_tb, mut sum_tt) = (0.0f32, 0.0f32);
    for (i, pair) in c.items.windows(2).take(99).enumerate() {
        let t = ((i + 2) as f32 / (i + 1) as f32).ln();
        sum_tb += t * (pair[0].p / pair[1].p).ln();
        sum_tt += t * t;
    }
    let s = sum_tb / sum_tt;
    let epsilon = s - 1.0;
    let k = ((epsilon * mu.exp2()) / (1.0 - (n_vocab as f32).powf(-epsilon))).powf(1.0 / s);
    // A k beyond a 32-bit integer keeps one candidate, as in llama.cpp, where it overflows.
    if k < i32::MAX as f32 { (k as usize).max(1) } else { 1 }
}

fn surprise_step(c: &mut Candidates, tau: f32, eta: f32, mu: &mut f32, rng: &mut Mt19937) -> usize {
    c.sorted_softmax();
    let index = rng.choose(c.items.iter().map(|item| item.p));
    *mu -= eta * (-c.items[index].p.log2() - tau);
    index
}

/// Adaptive-p: prefers tokens whose probability is near a target that follows what was drawn.
#[derive(Debug)]
pub struct Adaptive {
    target: f32,
    decay: f32,
    weighted_sum: f32,
    total_weight: f32,
    /// Probability of the token that was drawn last, until it is accepted.
    drawn: Option<f32>,
    rng: Mt19937,
}

/// Shape of the preference: its width, peak and sharpness.
const WIDTH: f32 = 0.3;
const PEAK: f32 = 5.0;
const SHARPNESS: f32 = 10.0;

impl Adaptive {
    /// Starts as if the target had always been met.
    #[must_use]
    pub fn new(target: f32, decay: f32, rng: Mt19937) -> Self {
        let decay = decay.clamp(0.0, 0.99);
        let (weighted_sum, total_weight) = (target / (1.0 - decay), 1.0 / (1.0 - decay));
        Self { target, decay, weighted_sum, total_weight, drawn: None, rng }
    }

    fn draw(&mut self, c: &mut Candidates) -> usize {
        c.softmax();
        if self.target < 0.0 {
            return self.rng.choose(c.items.iter().map(|item| item.p));
        }
        let original: Vec<f32> = c.items.iter().map(|item| item.p).collect();
        let goal = self.target.clamp(0.0, 1.0);
        let mean = if self.total_weight == 0.0 { goal } else { self.weighted_sum / self.total_weight };
        let goal = (2.0 * goal - mean).clamp(0.0, 1.0);
        for item in c.items.iter_mut().filter(|item| item.logit != f32::NEG_INFINITY) {
            let distance = ((item.p - goal) / WIDTH).abs();
            item.logit = PEAK - SHARPNESS * distance * distance / (1.0 + distance);
        }
        c.sorted = false;
        c.softmax();
        let index = self.rng.choose(c.items.iter().map(|item| item.p));
        self.drawn = Some(original[index]);
        index
    }

    fn accept(&mut self) {
        if let Some(p) = self.drawn.take() {
            self.weighted_sum = p + self.decay * self.weighted_sum;
            self.total_weight = 1.0 + self.decay * self.total_weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_and_refused_moves_no_target() {
        let mut c = Candidates::default();
        let mut draw = |adaptive: &mut Adaptive| {
            c.reset(&[1.0, 0.5, 0.0, -0.5]);
            let index = adaptive.draw(&mut c);
            c.items[index].token
        };
        let new = || Adaptive::new(0.5, 0.9, Mt19937::new(7));
        let (mut once, mut twice) = (new(), new());
        draw(&mut once);
        once.accept();
        draw(&mut twice); // refused
        assert!((twice.weighted_sum - 5.0).abs() < 1e-5);
        draw(&mut twice);
        twice.accept();
        twice.accept(); // nothing was drawn since
        assert!((twice.total_weight - once.total_weight).abs() < 1e-6);
        assert!((once.total_weight - 10.0).abs() < 1e-5);
        assert!((once.weighted_sum - 5.0).abs() > 1e-3, "no token has the target's probability");
    }
}
