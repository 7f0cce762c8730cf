//! One file per data set.

pub(crate) mod cifar10;
pub(crate) mod cifar100;
pub(crate) mod digits;
pub(crate) mod fashion_mnist;
pub(crate) mod folder;
pub(crate) mod gtsrb;
pub(crate) mod kmnist;
pub(crate) mod mnist;
pub(crate) mod svhn;
pub(crate) mod tinyimagenet;

#[cfg(test)]
mod tests;
