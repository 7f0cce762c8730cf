//! A study in one profile: blocks, cells with all their settings, claims.

use std::path::Path;

use serde_json::json;
use tightrope_network::{nearest_name, parse_toml};
use tightrope_sweep::{Listed, Objective, Parameters, Plan, Strategy};

use crate::StudyError;
use crate::claim::Claim;
use crate::definition::{BlockFile, CertifyFile, ProfileFile, StudyFile, VariantFile, add};

/// The studies that the program brings along, by name.
const BUILTIN: [(&str, &str); 12] = [
    ("paradox", include_str!("../studies/paradox.toml")),
    ("rate", include_str!("../studies/rate.toml")),
    ("radius", include_str!("../studies/radius.toml")),
    ("sigma", include_str!("../studies/sigma.toml")),
    ("population", include_str!("../studies/population.toml")),
    ("depth", include_str!("../studies/depth.toml")),
    ("width", include_str!("../studies/width.toml")),
    ("guide", include_str!("../studies/guide.toml")),
    ("adaptive", include_str!("../studies/adaptive.toml")),
    ("norms", include_str!("../studies/norms.toml")),
    ("alpha", include_str!("../studies/alpha.toml")),
    ("sota", include_str!("../studies/sota.toml")),
];

/// How the trials of a block are certified.
#[derive(Clone, Debug, PartialEq)]
pub struct Certify {
    /// `test` or `validation`.
    pub split: String,
    /// The first so many samples; all if absent.
    pub limit: Option<u64>,
    /// Seconds for each sample.
    pub timeout: f64,
    /// Stages in order; the command's own if absent.
    pub stages: Option<Vec<String>>,
}

/// One cell of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// `COLUMN/ROW`.
    pub name: String,
    /// Position of its row.
    pub row: usize,
    /// Position of its column.
    pub column: usize,
    /// All settings.
    pub settings: Parameters,
    /// Seeds, from 1 on.
    pub seeds: u64,
}

/// A row or a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Name.
    pub name: String,
    /// Place on an axis, where the variants are numbers.
    pub at: Option<f64>,
}

/// A block: cells on one data set, radius and network, mostly.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Folder name.
    pub name: String,
    /// Heading.
    pub title: String,
    /// How its trials are certified.
    pub certify: Certify,
    /// What the columns vary.
    pub column: String,
    /// Columns.
    pub columns: Vec<Variant>,
    /// What the rows vary.
    pub row: String,
    /// Rows.
    pub rows: Vec<Variant>,
    /// Cells, by row and then by column.
    pub cells: Vec<Cell>,
}

/// A study in one profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// What is asked, and how to read the tables.
    pub about: String,
    /// Name of the profile.
    pub profile: String,
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Claims.
    pub claims: Vec<Claim>,
}

/// Names and titles of the studies that the program brings along.
pub fn builtins() -> impl Iterator<Item = (&'static str, String)> {
    BUILTIN
        .into_iter()
        .map(|(name, text)| (name, toml::from_str(text).map_or_else(|_| String::new(), |f: StudyFile| f.title)))
}

/// The text of a study that the program brings along.
///
/// # Errors
/// If there is none of this name; the message names the nearest.
pub fn builtin(name: &str) -> Result<&'static str, StudyError> {
    if let Some((_, text)) = BUILTIN.into_iter().find(|(known, _)| *known == name) {
        return Ok(text);
    }
    let nearest = nearest_name(name, BUILTIN.map(|(known, _)| known));
    let nearest = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
    Err(StudyError::Unknown { name: name.into(), nearest })
}

impl Study {
    /// The study that the program brings along by this name, or that a file `*.toml` defines.
    ///
    /// # Errors
    /// If there is none, or it is none in this profile.
    pub fn load(name: &str, profile: &str) -> Result<Self, StudyError> {
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(path).map_err(|e| StudyError::file(path, e))?;
            return Study::parse(name, &text, profile);
        }
        Study::parse(name, builtin(name)?, profile)
    }

    /// Parses a definition.
    ///
    /// # Errors
    /// If it is none, names are used twice or unknown, or there is no such profile.
    pub fn parse(name: &str, text: &str, profile: &str) -> Result<Self, StudyError> {
        let bad = |problem: String| StudyError::definition(name, problem);
        let file: StudyFile = parse_toml(text).map_err(|e| bad(e.to_string().trim_end().into()))?;
        let Some(whole) = file.profiles.get(profile) else {
            let names: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
            return Err(bad(format!("has no profile `{profile}`; it has {}", names.join(", "))));
        };
        let mut blocks: Vec<Block> = Vec::new();
        for definition in &file.blocks {
            let none = ProfileFile::default();
            let own = definition.profiles.get(profile).unwrap_or(&none);
            if let Some(unknown) = definition.profiles.keys().find(|name| !file.profiles.contains_key(*name)) {
                return Err(bad(format!("block {}: the study has no profile `{unknown}`", definition.name)));
            }
            if blocks.iter().any(|block| block.name == definition.name) {
                return Err(bad(format!("two blocks are called {}", definition.name)));
            }
            if !own.skip {
                let block = block(&file, definition, whole, own);
                blocks.push(block.map_err(|problem| bad(format!("block {}: {problem}", definition.name)))?);
            }
        }
        let mut claims = Vec::new();
        for claim in &file.claims {
            for cell in [&claim.higher, &claim.lower] {
                let known = file.blocks.iter().any(|block| is_cell(block, cell));
                if !known {
                    return Err(bad(format!("the claim \"{}\" is of the cell {cell}, which no block has", claim.text)));
                }
            }
            if let Some(unknown) = claim
                .blocks
                .iter()
                .chain(&claim.lower_block)
                .find(|name| !file.blocks.iter().any(|block| block.name == **name))
            {
                return Err(bad(format!("the claim \"{}\" is of the block {unknown}, which there is not", claim.text)));
            }
            claims.push(Claim::from_file(claim));
        }
        if blocks.is_empty() {
            return Err(bad(format!("has nothing to do in the profile {profile}")));
        }
        let (name, profile) = (name.into(), profile.into());
        Ok(Study { name, title: file.title, about: file.about, profile, blocks, claims })
    }

    /// Trials of all blocks.
    pub fn trials(&self) -> u64 {
        self.blocks.iter().flat_map(|block| &block.cells).map(|cell| cell.seeds).sum()
    }
}

fn is_cell(block: &BlockFile, name: &str) -> bool {
    let has = |variants: &[VariantFile], name: &str| variants.iter().any(|variant| variant.name == name);
    name.rsplit_once('/').is_some_and(|(column, row)| has(&block.columns, column) && has(&block.rows, row))
}

fn block(file: &StudyFile, definition: &BlockFile, whole: &ProfileFile, own: &ProfileFile) -> Result<Block, String> {
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !plain(&definition.name) {
        return Err("a name has letters, digits, dots, - and _ only; it becomes a folder".into());
    }
    for variants in [&definition.rows, &definition.columns] {
        if variants.is_empty() {
            return Err("needs at least one row and one column".into());
        }
        for (place, variant) in variants.iter().enumerate() {
            if variant.name.is_empty() || variant.name.contains('/') {
                return Err(format!("`{}` is no name of a row or column; it has letters and no /", variant.name));
            }
            if variants[..place].iter().any(|other| other.name == variant.name) {
                return Err(format!("two rows or columns are called {}", variant.name));
            }
        }
    }
    if let Some(unknown) = definition.cells.keys().find(|name| !is_cell(definition, name)) {
        return Err(format!("`{unknown}` is no cell; write COLUMN/ROW"));
    }
    let mut cells = Vec::new();
    for (r, row) in definition.rows.iter().enumerate() {
        for (c, column) in definition.columns.iter().enumerate() {
            let name = format!("{}/{}", column.name, row.name);
            let special = definition.cells.get(&name).cloned().unwrap_or_default();
            if special.skip {
                continue;
            }
            let mut settings = Parameters::new();
            for table in [&file.set, &definition.set, &row.set, &column.set, &special.set, &whole.set, &own.set] {
                add(table, &mut settings)?;
            }
            let wanted = own.seeds.or(whole.seeds).unwrap_or(definition.seeds);
            let seeds = special.seeds.map_or(wanted, |most| wanted.min(most));
            // Also where something else goes before the zero.
            if seeds == 0 || definition.seeds == 0 {
                return Err(format!("the cell {name} needs at least one seed"));
            }
            cells.push(Cell { name, row: r, column: c, settings, seeds });
        }
    }
    let levels = [&own.certify, &whole.certify, &definition.certify, &file.certify];
    let certify = levels.into_iter().fold(CertifyFile::default(), |above, below| above.over(below));
    let variants = |list: &[VariantFile]| {
        list.iter().map(|variant| Variant { name: variant.name.clone(), at: variant.at }).collect::<Vec<_>>()
    };
    Ok(Block {
        name: definition.name.clone(),
        title: definition.title.clone(),
        certify: Certify {
            split: certify.split.unwrap_or_else(|| "test".into()),
            limit: certify.limit,
            timeout: certify.timeout.unwrap_or(20.0),
            stages: certify.stages,
        },
        column: definition.column.clone(),
        columns: variants(&definition.columns),
        row: definition.row.clone(),
        rows: variants(&definition.rows),
        cells,
    })
}

impl Block {
    /// The cell called `name`.
    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The cells as trials of a sweep; how they are certified must agree before it is continued.
    pub fn plan(&self) -> Plan {
        let Certify { split, limit, timeout, stages } = &self.certify;
        let setting =
            [("split", json!(split)), ("limit", json!(limit)), ("timeout", json!(timeout)), ("stages", json!(stages))];
        let listed = self.cells.iter().map(|cell| Listed { parameters: cell.settings.clone(), seeds: cell.seeds });
        Plan {
            axes: Vec::new(),
            listed: listed.collect(),
            strategy: Strategy::Listed,
            seeds: self.cells.iter().map(|cell| cell.seeds).max().unwrap_or(0),
            seed: 1,
            objectives: vec![Objective::Natural, Objective::Certified],
            setting: setting.map(|(name, value)| (name.to_string(), value)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILTIN, Study, StudyFile, builtin, builtins, parse_toml};

    /// Two rows and two columns; the second profile is short.
    const SMALL: &str = r#"
        title = "T"
        about = "A"
        [set]
        a = 1
        train.epochs = 9
        [certify]
        timeout = 5
        [profiles.long]
        [profiles.brief]
        seeds = 2
        set = { "train.epochs" = 1 }
        certify = { limit = 3 }
        [[block]]
        name = "b1"
        title = "B"
        set = { a = 2, list = [1, 2] }
        seeds = 3
        column = "c"
        columns = [{ name = "x", set = { m = "x" } }, { name = "y", at = 2, set = { m = "y" } }]
        row = "r"
        rows = [{ name = "p" }, { name = "q", set = { a = 3 } }]
        [block.cells]
        "y/p" = { skip = true }
        "x/q" = { seeds = 1, set = { a = 4 } }
        [block.profiles.brief]
        set = { last = true }
        [[claim]]
        text = "x"
        higher = "x/q"
        lower = "x/p"
    "#;

    #[test]
    fn settings_of_many_levels() {
        let study = Study::parse("s", SMALL, "brief").unwrap();
        let block = &study.blocks[0];
        let told: Vec<(String, u64, String)> = block
            .cells
            .iter()
            .map(|cell| (cell.name.clone(), cell.seeds, serde_json::to_string(&cell.settings).unwrap()))
            .collect();
        let of = |a: u64, m: &str| format!(r#"{{"a":{a},"train.epochs":1,"list":[1,2],"m":"{m}","last":true}}"#);
        let expected = [("x/p", 2, of(2, "x")), ("x/q", 1, of(4, "x")), ("y/q", 2, of(3, "y"))];
        assert_eq!(told, expected.map(|(name, seeds, settings)| (name.into(), seeds, settings)));
        assert_eq!((block.certify.limit, block.certify.timeout, block.certify.split.as_str()), (Some(3), 5.0, "test"));
        assert_eq!((study.trials(), block.columns[1].at), (5, Some(2.0)));
        let long = Study::parse("s", SMALL, "long").unwrap();
        assert_eq!((long.trials(), long.blocks[0].certify.limit), (7, None));
        let plan = block.plan();
        plan.check().unwrap();
        assert_eq!((plan.trials(), plan.configurations()), (5, Some(3)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, part) in [
            ("name = \"b1\"", "name = \"b/1\"", "becomes a folder"),
            ("\"x/q\" =", "\"x/z\" =", "`x/z` is no cell"),
            ("{ name = \"p\" }", "{ name = \"q\" }", "two rows or columns are called q"),
            ("{ name = \"p\" }", "{ name = \"p/q\" }", "has letters and no /"),
            ("higher = \"x/q\"", "higher = \"z/q\"", "which no block has"),
            ("seeds = 3", "seeds = 0", "at least one seed"),
            ("[block.profiles.brief]", "[block.profiles.short]", "no profile `short`"),
            ("title = \"T\"", "titel = \"T\"", "titel"),
            ("list = [1, 2]", "list = 1979-05-27", "is a time"),
        ] {
            assert!(SMALL.contains(from));
            let problem = Study::parse("s", &SMALL.replacen(from, to, 1), "brief").unwrap_err().to_string();
            assert!(problem.starts_with("s: ") && problem.contains(part), "{part}: {problem}");
        }
        assert!(Study::parse("s", SMALL, "paper").unwrap_err().to_string().contains("it has brief, long"));
        assert!(builtin("paradx").unwrap_err().to_string().contains("did you mean `paradox`"));
        assert!(Study::load("nowhere.toml", "smoke").unwrap_err().to_string().contains("nowhere.toml"));
    }

    #[test]
    fn built_in_studies_have_every_profile() {
        for (name, title) in builtins() {
            assert!(!title.is_empty(), "{name}");
            let trials = ["smoke", "laptop", "paper"].map(|profile| Study::load(name, profile).unwrap().trials());
            assert!(trials[0] > 0 && trials[0] <= trials[1], "{name}: {trials:?}");
        }
        assert_eq!(builtins().count(), BUILTIN.len());
    }

    #[test]
    fn cells_get_the_seeds_of_their_profile() {
        // A profile may ask for more than the block has; a block's own profile goes before it, and cells may have less.
        let more = SMALL.replace("[profiles.brief]\n        seeds = 2", "[profiles.brief]\n        seeds = 7");
        let seeds = |text: &str| {
            let study = Study::parse("s", text, "brief").unwrap();
            study.blocks[0].cells.iter().map(|cell| cell.seeds).collect::<Vec<_>>()
        };
        assert_eq!(seeds(&more), [7, 1, 7]);
        assert_eq!(seeds(&more.replace("set = { last = true }", "seeds = 4")), [4, 1, 4]);
        for (name, text) in BUILTIN {
            let file: StudyFile = parse_toml(text).unwrap();
            for (profile, whole) in &file.profiles {
                for block in Study::load(name, profile).unwrap().blocks {
                    let definition = file.blocks.iter().find(|definition| definition.name == block.name).unwrap();
                    let own = definition.profiles.get(profile).and_then(|own| own.seeds);
                    for cell in block.cells.iter().filter(|cell| !definition.cells.contains_key(&cell.name)) {
                        let asked = own.or(whole.seeds).unwrap_or(definition.seeds);
                        assert_eq!(cell.seeds, asked, "{name}, {profile}, {}, {}", block.name, cell.name);
                    }
                }
            }
        }
    }
}
