{{- define "parley.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "parley.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Labels of an object: a list of the root and of further labels. What selects pods, nobody can change. */ -}}
{{- define "parley.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
      "app.kubernetes.io/version" $root.Chart.AppVersion
      "app.kubernetes.io/managed-by" $root.Release.Service
      "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $selector := include "parley.selectorLabels" $root | fromYaml -}}
{{- toYaml (merge $selector (deepCopy (default dict (index . 1))) (deepCopy (default dict $root.Values.commonLabels)) $own) -}}
{{- end -}}

{{- /* Metadata of an object: a list of the root, the end of the name, further labels, and annotations. */ -}}
{{- define "parley.metadata" -}}
{{- $root := index . 0 -}}
name: {{ print (include "parley.fullname" $root) (index . 1) | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "parley.labels" (list $root (index . 2)) | nindent 2 }}
{{- with index . 3 }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
Labels of the pod of `helm test`. They are not those that select replicas: it would belong to the Service, to the autoscaler
and to the disruption budget, which stops all evictions for a pod that no controller has.
*/ -}}
{{- define "parley.testLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "parley.hasTest" -}}
{{- /* A client certificate is nothing that the chart has. */ -}}
{{- if and .Values.test.enabled (not .Values.tls.clientCertificates) }}true{{ end -}}
{{- end -}}

{{- define "parley.image" -}}
{{- $tag := printf ":%s" (default .Chart.AppVersion .Values.image.tag) -}}
{{- .Values.image.repository }}{{ ternary $tag (printf "@%s" .Values.image.digest) (empty .Values.image.digest) -}}
{{- end -}}

{{- define "parley.serviceAccountName" -}}
{{- $default := ternary (include "parley.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end -}}

{{- /* Name of the Secret with the API key. */ -}}
{{- define "parley.secretName" -}}
{{- default (printf "%s-claude" (include "parley.fullname" .)) .Values.claude.existingSecret -}}
{{- end -}}

{{- define "parley.gracePeriod" -}}
{{- $sum := include "parley.gracePeriodNeeded" . | int -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- ternary $sum (int $given) (kindIs "invalid" $given) -}}
{{- end -}}

{{- define "parley.gracePeriodNeeded" -}}
{{- with .Values.shutdown -}}
{{- add .preStopSeconds .lameDuckSeconds .drainSeconds 10 -}}
{{- end -}}
{{- end -}}

{{- /* The YAML file of the service. */ -}}
{{- define "parley.config" -}}
{{- $server := dict
      "lameDuck" (printf "%ds" (int .Values.shutdown.lameDuckSeconds))
      "drain" (printf "%ds" (int .Values.shutdown.drainSeconds)) -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "certFile" "/etc/parley/tls/tls.crt" "keyFile" "/etc/parley/tls/tls.key" -}}
{{- if .Values.tls.clientCertificates -}}
{{- $tls = set $tls "clientCaFile" "/etc/parley/tls/ca.crt" -}}
{{- end -}}
{{- $server = set $server "tls" $tls -}}
{{- end -}}
{{- toYaml (merge (dict "server" $server) (default dict .Values.config)) -}}
{{- end -}}

{{- define "parley.isAutoscaled" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled }}true{{ end -}}
{{- end -}}
