//! Whether what lies beside a run's model is of this model or of an earlier one.

use tightrope_network::screen_text;

use super::{CERTIFY, Run, landscape};

impl Run {
    /// Holds the checksums of models in `certify.jsonl` and `landscape.json` against those of the model that the folder holds
    /// now: `present` has one for each of its forms (as it is stored, and with batch norms frozen), at least one. What is of
    /// none of them is marked as of an earlier model, with a remark; what tells no checksum stays as it is.
    pub fn compare_model(&mut self, present: &[String]) {
        let earlier = |model: Option<&str>| {
            model.is_some_and(|model| !present.iter().map(String::as_str).any(|own| own == model))
        };
        let folder = self.folder.display();
        let mut remarks = Vec::new();
        if let Some(found) = &mut self.certification {
            found.earlier_model = earlier(found.setting("model"));
            if found.earlier_model {
                remarks.push(format!(
                    "{CERTIFY}: is of an earlier model than the run has now, so that fronts and hypervolumes leave it out; \
                     certify anew by `tightrope certify {folder} --overwrite`"
                ));
            }
        }
        if let Some(found) = &mut self.landscape {
            found.earlier_model = earlier(found.model.as_deref());
            if found.earlier_model {
                remarks.push(format!(
                    "{}: is of an earlier model than the run has now; draw it anew by `tightrope landscape {folder} \
                     --overwrite`",
                    landscape::DOCUMENT
                ));
            }
        }
        self.remarks.extend(remarks.iter().map(|remark| screen_text(remark)));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Run, fronts};

    const CERTIFY: &str = "{\"certify_log\":1,\"settings\":{\"model\":\"aa\",\"eps\":0.1}}\n\
         {\"index\":0,\"label\":1,\"prediction\":1,\"natural_correct\":true,\"verdict\":\"verified\",\"stage\":\"ibp\"}\n";
    const METRICS: &str =
        "{\"epoch\":1,\"test\":{\"samples\":10,\"eps\":0.1,\"natural_accuracy\":0.5,\"certified_accuracy\":0.2}}\n";

    #[test]
    fn what_is_of_an_earlier_model_is_told_and_left_out_of_fronts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("landscape")).unwrap();
        for (name, text) in [
            ("certify.jsonl", CERTIFY),
            ("metrics.jsonl", METRICS),
            ("config.toml", "eps = 0.1\n"),
            ("manifest.json", "{}"),
            ("landscape/landscape.json", "{\"model\":\"bb\"}"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let compared = |present: &[&str]| {
            let mut run = Run::read(folder.path());
            run.compare_model(&present.iter().map(|model| (*model).to_string()).collect::<Vec<_>>());
            run
        };
        let marks = |run: &Run| {
            let (certification, landscape) = (run.certification.as_ref().unwrap(), run.landscape.as_ref().unwrap());
            (certification.earlier_model, landscape.earlier_model)
        };
        // Either form of the model will do.
        let run = compared(&["aa", "bb"]);
        assert_eq!((marks(&run), run.remarks.len()), ((false, false), 0));
        assert!(fronts(&[run])[0].outcomes[0].cascade);
        let run = compared(&["bb", "cc"]);
        assert_eq!((marks(&run), run.remarks.len()), ((true, false), 1));
        assert!(run.remarks[0].starts_with("certify.jsonl: is of an earlier model"), "{:?}", run.remarks);
        let outcome = &fronts(&[run])[0].outcomes[0];
        assert_eq!((outcome.cascade, outcome.certified.count, outcome.certified.total), (false, 2, 10));
        let run = compared(&["cc"]);
        assert_eq!((marks(&run), run.remarks.len()), ((true, true), 2));
        assert!(run.remarks[1].contains("landscape.json: is of an earlier model"), "{:?}", run.remarks);
        assert!(run.remarks.iter().all(|remark| remark.contains("--overwrite")), "{:?}", run.remarks);
        // A log that does not tell its model is no worse than before.
        std::fs::write(folder.path().join("certify.jsonl"), CERTIFY.replace("\"model\":\"aa\",", "")).unwrap();
        assert!(!compared(&["cc"]).certification.unwrap().earlier_model);
    }
}
