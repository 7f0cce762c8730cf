//! Whether samples have the classes that a model's run was trained on: their labels mean nothing to it otherwise.

use std::path::Path;

use anyhow::bail;
use tightrope_data::{ClassDifference, Dataset, Split, are_indices};
use tightrope_train::RunFolder;

use crate::context::Context;
use crate::origin::Origin;

/// Fails if `set`, read from `dir`, is of the data set of the run that `origin` knows and its classes have other names; says
/// so if it is of another data set.
pub fn check(set: &Dataset, origin: &Origin<'_>, dir: Option<&Path>, context: &Context) -> anyhow::Result<()> {
    if origin.run_on(&set.name).is_some() {
        return check_own(set, origin.model(), dir);
    }
    tell(set, origin, context);
    Ok(())
}

/// Fails if the classes of `set`, read from `dir`, have other names than those of the run in `folder` on the same data set.
pub fn check_own(set: &Dataset, folder: &Path, dir: Option<&Path>) -> anyhow::Result<()> {
    let (Some(classes), Some(found)) = (RunFolder::stored_classes(folder, &set.name), &set.class_names) else {
        return Ok(());
    };
    let Some(difference) = ClassDifference::between((&set.name, &classes), (&set.name, found)) else { return Ok(()) };
    // What was kept for validation lies with the training images.
    let place = |split| tightrope_data::info(&set.name).and_then(|info| info.place(split, dir)).ok().flatten();
    let place = place(set.split).or_else(|| place(Split::Train));
    let place = place.map_or_else(|| format!("data set `{}`", set.name), |place| place.folder.display().to_string());
    bail!(
        "{place}: its classes are not those that the run in {} was trained on ({difference}), so its labels would mean \
         other classes; name the class folders as manifest.json of the run lists them, or give the folder of the run's \
         data by --data-dir",
        folder.display()
    )
}

/// Warns if the classes of `set` are as many as those of the run that `origin` knows and have other names.
pub fn tell(set: &Dataset, origin: &Origin<'_>, context: &Context) {
    let Some(name) = origin.config().filter(|config| config.inputs.is_empty()).map(|config| &*config.dataset) else {
        return;
    };
    let (Some(classes), Some(found)) = (RunFolder::stored_classes(origin.model(), name), &set.class_names) else {
        return;
    };
    if classes.len() != found.len() || are_indices(&classes) || are_indices(found) {
        return;
    }
    if let Some(difference) = ClassDifference::between((name, &classes), (&set.name, found)) {
        context.note(&format!(
            "warning: the classes of `{}` are not called as those that the run in {} was trained on ({difference}); classes \
             are compared by their numbers alone, so check that these mean the same",
            set.name,
            origin.model().display()
        ));
    }
}
