"""Choose the images, their splits and their captions: the rows that every later stage follows."""

from textbloom import config
from textbloom.data import captions, registry, splits

# How a data set gets more pictures; of the others all are there, unless data.limit leaves some out.
MORE = {
    "drawn": "raise drawn.count",
    "folder": "add pictures to data.path; data.split: none takes the fewest, 200 for 100 samples",
}


def main(p: config.Params) -> None:
    dataset = registry.DATASETS[p.data.dataset]
    folder = config.raw(p.data.dataset)
    records = splits.divide(dataset, folder, p.data.split, p.data.split_seed)
    kept, leaks = captions.without_leaks(records, dataset.photos(folder))
    used = captions.first(kept, p.data.limit)
    per_image = None if p.captions.per_image == "all" else p.captions.per_image
    mend = "raise data.limit" if p.data.limit else MORE.get(p.data.dataset, "choose another data.split")
    captions.check_counts(used, p.evaluate.split, p.train.split_names, p.evaluate.samples, mend)
    captions.write(config.CAPTIONS, used, per_image)
    for record in leaks:
        print(f"image {record.image_id} of {record.split} left out: an identical photo is in another split")
    print(captions.summary(used))


if __name__ == "__main__":
    config.run(main)
