//! Stochastic gradient descent with Polyak's or Nesterov's momentum.

/// SGD with momentum.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// Steps done.
    pub step: u64,
    /// The velocity u, `[|θ|]`; none without momentum.
    pub velocity: Option<Vec<f32>>,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Sgd {
    /// The state before the first step for `parameters` parameters; `weight_decay` is the weight λ of ‖θ‖²/2 in the loss.
    pub fn new(parameters: usize, momentum: f64, nesterov: bool, weight_decay: f64) -> Self {
        let velocity = (momentum != 0.0).then(|| vec![0.0; parameters]);
        Sgd { step: 0, velocity, momentum, nesterov, weight_decay }
    }

    /// u ← μu + g and θ ← θ − lr·u, with Nesterov's momentum θ ← θ − lr·(g + μu); g = gradient + λθ.
    ///
    /// `theta` and `gradient` have the length given to [`Sgd::new`].
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        self.step += 1;
        let (lr, momentum, decay) = (lr as f32, self.momentum as f32, self.weight_decay as f32);
        let Some(velocity) = &mut self.velocity else {
            theta.iter_mut().zip(gradient).for_each(|(t, &g)| *t -= lr * (g + decay * *t));
            return;
        };
        for ((t, &g), u) in theta.iter_mut().zip(gradient).zip(velocity) {
            let g = g + decay * *t;
            *u = momentum * *u + g;
            *t -= lr * if self.nesterov { g + momentum * *u } else { *u };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::torch;
    use super::Sgd;

    #[test]
    fn steps_are_those_of_pytorch() {
        let mut sgd = Sgd::new(3, 0.0, false, 0.0);
        torch::compare(
            |theta, gradient, lr| sgd.update(theta, gradient, lr),
            &[(1, [1.495, -0.246999994, 0.0299899988]), (8, [1.49059522, -0.255187571, 0.0299477391])],
        );
        let mut sgd = Sgd::new(3, 0.9, false, 0.1);
        torch::compare(
            |theta, gradient, lr| sgd.update(theta, gradient, lr),
            &[
                (1, [1.49349999, -0.246749997, 0.029959999]),
                (5, [1.4651618, -0.240725309, 0.0296735074]),
                (8, [1.44186974, -0.256587148, 0.029421607]),
            ],
        );
        let mut sgd = Sgd::new(3, 0.9, true, 0.1);
        torch::compare(
            |theta, gradient, lr| sgd.update(theta, gradient, lr),
            &[
                (1, [1.48765004, -0.243825004, 0.0299239997]),
                (5, [1.45495009, -0.238761663, 0.0295724198]),
                (8, [1.4313544, -0.259956509, 0.0292866491]),
            ],
        );
    }

    /// By hand: μ = ½ and a gradient of 1 give u = 1, 1.5, 1.75; Nesterov moves by g + u/2.
    #[test]
    fn velocities_add_up() {
        let run = |nesterov: bool| {
            let mut sgd = Sgd::new(1, 0.5, nesterov, 0.0);
            let mut theta = [0.0_f32];
            let mut path = Vec::new();
            for _ in 0..3 {
                sgd.update(&mut theta, &[1.0], 1.0);
                path.push(theta[0]);
            }
            path
        };
        assert_eq!(run(false), [-1.0, -2.5, -4.25]);
        assert_eq!(run(true), [-1.5, -3.25, -5.125]);
    }
}
