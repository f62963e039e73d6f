import { useParams } from "@tanstack/react-router";
import { nounBySlug, useModel } from "../api/model";
import { DetailPage } from "../parts/DetailPage";
import { NotFound } from "./NotFound";

export default function NounDetail() {
  const { slug, id } = useParams({ strict: false }) as { slug: string; id: string };
  const noun = nounBySlug(useModel(), slug);
  return noun ? <DetailPage key={`${slug}/${id}`} noun={noun} id={id} /> : <NotFound />;
}
