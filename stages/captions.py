"""Choose the images, their splits and their captions: the rows that every later stage follows."""

from textbloom import config
from textbloom.data import captions, registry, splits


def main(p: config.Params) -> None:
    dataset = registry.DATASETS[p.data.dataset]
    folder = config.raw(p.data.dataset)
    records = splits.divide(dataset, folder, p.data.split, p.data.split_seed)
    kept, leaks = captions.without_leaks(records, dataset.photos(folder))
    used = captions.first(kept, p.data.limit)
    per_image = None if p.captions.per_image == "all" else p.captions.per_image
    captions.write(config.CAPTIONS, used, per_image)
    for record in leaks:
        print(f"image {record.image_id} of {record.split} left out: an identical photo is in another split")
    print(captions.summary(used))


if __name__ == "__main__":
    config.run(main)
